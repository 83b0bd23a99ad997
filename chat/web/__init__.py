"""Floor 4: the page that Django renders, and the accounts behind it. What makes the page live is in static/chat/js."""
