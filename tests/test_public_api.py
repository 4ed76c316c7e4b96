"""What `import layersearch` gives, and what it leaves alone."""

import importlib
import pkgutil
import subprocess
import sys

import layersearch


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh Python has after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_layersearch_imports_neither_ray_nor_torch() -> None:
    assert not {"ray", "torch", "optuna"} & loaded_by("import layersearch")


def test_what_a_python_call_needs_does_not_import_ray() -> None:
    assert "ray" not in loaded_by("from layersearch import search")


def test_every_public_name_exists_and_is_documented() -> None:
    assert "search" in layersearch.__all__
    for name in layersearch.__all__:
        assert getattr(layersearch, name).__doc__, name


def test_every_package_exports_what_it_says_in_order() -> None:
    for module in pkgutil.iter_modules(layersearch.__path__, "layersearch."):
        if module.ispkg:
            package = importlib.import_module(module.name)
            assert package.__doc__, module.name
            for name in package.__all__:
                assert hasattr(package, name), f"{module.name}.{name}"
