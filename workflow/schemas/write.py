"""Write the JSON schemas beside this file from the configuration models."""

import json
from pathlib import Path

from lowdim.config import json_schemas


def main() -> None:
    for name, schema in json_schemas().items():
        text = json.dumps(schema, indent=2) + "\n"
        Path(__file__).with_name(name).write_text(text)


if __name__ == "__main__":
    main()
