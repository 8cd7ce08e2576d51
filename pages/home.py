"""The address without a page: Learn; or the page that the rest of the address, or the files given, belong to."""

from simplegrad.view.player.home import home_page

home_page()
