"""The microphone, cleaned while one speaks: the devices, and the session between them."""
