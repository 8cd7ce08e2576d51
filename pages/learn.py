"""Learn: the notebook as lessons, to read, to predict, to step through and to write."""

from simplegrad.view.player.learn import learn_page

learn_page()
