"""Where older links to Compose lead: Step, where programs are written now."""

from simplegrad.view.player.home import compose_page

compose_page()
