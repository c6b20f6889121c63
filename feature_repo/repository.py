"""What ``feast apply`` finds when it is typed in this folder: the definitions, under the names that they have.

Feast imports a file by its name alone there, so that ``definitions.py`` itself would be made a second time, and each of
its objects be two of one name; ``.feastignore`` leaves it out with every other module of ours.
"""

from feature_repo.definitions import *  # noqa: F403  # Feast takes what it finds under a module's own names
