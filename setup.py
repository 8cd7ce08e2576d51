"""What pyproject.toml has no words for: app.py, pages/ and .streamlit/ are installed too, as simplegrad/app/."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class WithoutThisFile(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list:
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "setup"]


setup(
    packages=[*find_packages(include=["simplegrad", "simplegrad.*"]), "simplegrad.app", "simplegrad.app.pages"],
    package_dir={"simplegrad.app": ".", "simplegrad.app.pages": "pages"},
    cmdclass={"build_py": WithoutThisFile},
)
