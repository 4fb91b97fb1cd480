"""README.md and docs/ against the tree: their links, the files that they name, and the job spec's keys.

  documents_test.py SOURCE_FOLDER [DPTRAIN]
"""
import re, subprocess, sys, tempfile, unittest
from pathlib import Path

SOURCE = Path(sys.argv.pop(1))
BINARY = sys.argv.pop(1) if len(sys.argv) > 1 else None
DOCUMENTS = [SOURCE / "README.md", *sorted((SOURCE / "docs").glob("*.md"))]


def prose(document):
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)


def anchors(document):
    """The names that GitHub gives headings."""
    headings = re.findall(r"^#+ (.*)", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Documents(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for document in DOCUMENTS:
            for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
                if "://" in link:
                    continue
                with self.subTest(document=document.name, link=link):
                    path, _, anchor = link.partition("#")
                    target = (document.parent / path).resolve() if path else document
                    self.assertTrue(target.exists())
                    if anchor:
                        self.assertIn(anchor, anchors(target))

    def test_files_that_are_named_exist(self):
        for document in DOCUMENTS:
            for name in set(re.findall(r"\b(?:configs|scripts|datasets|examples|tests|lib)/[\w/.]*\w", document.read_text())):
                with self.subTest(document=document.name, name=name):
                    self.assertTrue((SOURCE / name).exists() or (SOURCE / f"{name}.cpp").exists())  # or the program of that source

    @unittest.skipIf(BINARY is None, "this build has no program")
    def test_every_key_of_a_job_is_explained(self):
        explained = set(re.findall(r"[\w]+", " ".join(re.findall(r"`([^`]+)`", (SOURCE / "docs/job.md").read_text()))))
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([BINARY, SOURCE / "configs/digits.yaml", "--devices", "1", "--set", "train.steps=1", "--set", "expect={}",
                            "--quiet", "--out", f"{folder}/run"], check=True)
            resolved = Path(folder, "run/job.yaml").read_text()
        keys = set(re.findall(r"(?:^|[\s{,-])([a-z_]+):(?:\s|$)", re.sub(r"#.*", "", resolved)))
        self.assertIn("global_batch_size", keys)
        self.assertEqual(keys - explained, set())


if __name__ == "__main__":
    unittest.main()
