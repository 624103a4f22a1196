"""The page that cleans recordings in a browser, and the small server that can stand behind it."""
