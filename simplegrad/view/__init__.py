"""From a trace to what is shown: graph, layout, figure, sentences, and the player that steps through them."""
