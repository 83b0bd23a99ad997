"""Loaded by pytest's `-p` before pytest-django reads the settings: no test may see a developer's key or data."""

import atexit
import os
import shutil
import tempfile

_folder = tempfile.mkdtemp(prefix="tokenwire-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)

for _name in [name for name in os.environ if name.startswith(("CHAT_", "OPENAI_"))]:
    del os.environ[_name]
for _name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DEBUG", "HOST", "PORT", "SERVER", "ALLOWED_ORIGINS"):
    os.environ.pop(_name, None)
os.environ["CHAT_ENV_FILE"] = ""
os.environ["CHAT_DATA_DIR"] = _folder
