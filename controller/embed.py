"""Writes a C file that holds the profiles of deploy/agents as they are: embed.py OUT.c FILE.json..."""
import json
import pathlib
import sys

out, files = sys.argv[1], sys.argv[2:]
text = ['#include "controller/agent_builtin.h"\n\nconst struct agent_builtin agent_builtins[] = {\n']
for name in files:
    path = pathlib.Path(name)
    body = path.read_text(encoding="utf-8")
    if json.loads(body)["name"] != path.stem:
        sys.exit(f"{name}: its name is not the file's")
    text.append(f'    {{"{path.stem}",\n')
    for line in body.splitlines(keepends=True):
        quoted = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        text.append(f'     "{quoted}"\n')
    text.append("    },\n")
text.append("};\nconst size_t agent_builtins_n = sizeof(agent_builtins) / sizeof(*agent_builtins);\n")
pathlib.Path(out).write_text("".join(text), encoding="utf-8")
