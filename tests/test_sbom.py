"""The bill of materials names what is installed and what is vendored, and is the same whenever it is made."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def made(place: Path) -> dict[str, object]:
    subprocess.run([sys.executable, ".ci/sbom.py", str(place)], cwd=ROOT, check=True, capture_output=True, timeout=60)
    return dict(json.loads(place.read_text()))


def test_the_bill_of_materials_names_every_part(tmp_path: Path) -> None:
    bill = made(tmp_path / "sbom.json")
    components: list[dict[str, str]] = bill["components"]  # type: ignore[assignment]
    locked = set(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    vendored = {(each["name"], each["version"]) for each in json.loads((ROOT / "webapp/static/vendor/manifest.json").read_text())["packages"]}
    assert {(each["name"], each["version"]) for each in components} == locked | vendored
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    references = [each["bom-ref"] for each in components]
    assert len(set(references)) == len(references)
    needs: list[dict[str, list[str]]] = bill["dependencies"]  # type: ignore[assignment]
    assert {each for one in needs for each in one["dependsOn"]} <= set(references)
    # what another operating system needs is not installed here, so nobody can say
    assert {each["name"] for each in components if "licenses" not in each} <= {"colorama", "tzdata"}
    assert bill == made(tmp_path / "again.json")
