"""Writes the JSON Schema: ``python -m sartor.stages.requirement docs/requirement.schema.json``."""

import json
import sys
from pathlib import Path

from sartor.stages.requirement import schema
from sartor.storage import write_text

text = json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
if len(sys.argv) > 1:
    write_text(Path(sys.argv[1]), text)
else:
    print(text, end="")
