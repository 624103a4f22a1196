"""The one exception whose message is written for the person at the keyboard."""


class UserError(Exception):
    """Something the user can put right: a missing file, an unreadable folder, a wrong option.

    The message is one sentence that names the file or option and says the way out. The command
    line prints it and exits with code 2; every other exception is a fault of the program.
    """
