"""Everything of the site that is made from the project when it is built."""

import shutil

from api import write_api
from config_page import write_config
from encodings_page import write_encodings
from included import GENERATED, write_included
from pictures import write_pictures


def write_all() -> None:
    """Writes docs/generated anew."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    write_included()
    write_api(GENERATED)
    write_encodings(GENERATED)
    write_config(GENERATED)
    write_pictures(GENERATED)
