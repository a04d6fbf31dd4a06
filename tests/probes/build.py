"""`python build.py FOLDER`: compile probe.pyx into FOLDER."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# Undefined behaviour ends the process by a trap: no sanitizer runtime has to be loaded first.
FLAGS = [
    *["-O1", "-g", "-DREMORA_DEBUG=1", "-Wno-unused-function"],
    *["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-fno-sanitize=alignment"],
]


def main(folder: str) -> None:
    extension = Extension("probe", [str(HERE / "probe.pyx")], extra_compile_args=FLAGS)
    modules = cythonize(
        [extension], build_dir=folder, include_path=[str(ROOT)], force=True, quiet=True
    )
    arguments = ["build_ext", "--quiet", "--build-lib", folder, "--build-temp", folder]
    setup(name="probe", ext_modules=modules, script_args=arguments)


if __name__ == "__main__":
    main(sys.argv[1])
