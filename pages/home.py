"""The address without a page: Learn, or Step where it says what to step through, or files were given."""

from simplegrad.view.player.home import home_page

home_page()
