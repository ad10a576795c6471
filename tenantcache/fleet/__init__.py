"""What the processes of a fleet tell of themselves, for a page that shows all of them."""
