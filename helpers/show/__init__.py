"""What presents results: the figures' style, what the report prints, films and sliders; nothing outside imports it."""
