"""The part of the Hugging Face Hub that takes uploads: repositories, large files, commits."""

import base64
import hashlib
import json
import re
from urllib.parse import urlsplit

TOKEN = "hf_test"
# Larger files, and files of these names, go to the storage of large files.
_REGULAR = 10_000_000
_LARGE = (".safetensors", ".pth", ".bin", ".ckpt")
_LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "other")


class Uploads:
    """Answers POST and PUT of a handler whose ``internet`` holds the files."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) if self._fixed() else self._chunks()
        path = urlsplit(self.path).path
        self.internet.asked.append(("POST", path, ""))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|branch|commit)/([^/]+)", path):
            return getattr(self, f"_{found[2]}")(found[1], found[3], body)
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if path == "/verify":
            return self._json({}, 200 if json.loads(body)["oid"] in self._stored() else 404)
        self._json({"error": "no such page"}, 404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])) if self._fixed() else self._chunks()
        self.internet.asked.append(("PUT", self.path, ""))
        oid = self.path.rpartition("/")[2]
        if self.internet.__dict__.get("full"):
            return self._json({"error": "storage quota exceeded"}, 403)
        if hashlib.sha256(body).hexdigest() != oid:
            return self._json({"error": "wrong content"}, 400)
        self._stored()[oid] = body
        self._json({})

    def _create(self, wish: dict) -> None:
        name = f"{wish['organization']}/{wish['name']}"
        if wish["organization"] != "user":
            return self._json({"error": "You don't have the rights to create a model under this namespace"}, 403)
        repositories = self.internet.__dict__.setdefault("repositories", {})
        known = name in repositories
        repositories.setdefault(name, wish)
        self._json({"url": f"{self.internet.hub}/{name}", "name": name}, 409 if known else 200)

    def _validate(self, content: str) -> None:
        licence = re.search(r"^license: (.+)$", content.partition("\n---")[0], re.MULTILINE)
        errors = [] if licence is None or licence[1] in _LICENCES else [{"message": f'"license" is {licence[1]}'}]
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _preupload(self, name: str, branch: str, body: bytes) -> None:
        files = [
            {"path": f["path"], "shouldIgnore": False, "uploadMode": "lfs" if large else "regular", "oid": None}
            for f in json.loads(body)["files"]
            for large in [f["path"].endswith(_LARGE) or f["size"] > _REGULAR]
        ]
        self._json({"files": files})

    def _batch(self, wish: dict) -> None:
        objects = []
        for each in wish["objects"]:
            actions = {
                "upload": {"href": f"{self.internet.hub}/store/{each['oid']}", "header": {}},
                "verify": {"href": f"{self.internet.hub}/verify", "header": {}},
            }
            # Content that is there already is not sent again.
            objects.append(each if each["oid"] in self._stored() else each | {"actions": actions})
        self._json({"transfer": "basic", "objects": objects})

    def _branch(self, name: str, branch: str, body: bytes) -> None:
        self._json({})

    def _commit(self, name: str, branch: str, body: bytes) -> None:
        from tests.hub.internet import Served

        for line in filter(None, body.split(b"\n")):
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                content = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                content = self._stored()[value["oid"]]
            else:
                if entry["key"] == "deletedFile":
                    del self.internet.files[f"hf:{name}/{value['path']}"]
                elif entry["key"] == "header":
                    self.internet.__dict__.setdefault("commits", []).append((branch, value["summary"]))
                continue
            self.internet.files[f"hf:{name}/{value['path']}"] = Served(content)
        address = f"{self.internet.hub}/{name}/commit/{'d' * 40}"
        answer = {"success": True, "commitOid": "d" * 40, "commitUrl": address}
        if "create_pr=1" in self.path:
            answer["pullRequestUrl"] = f"{self.internet.hub}/{name}/discussions/1"
        self._json(answer)

    def _stored(self) -> dict[str, bytes]:
        return self.internet.__dict__.setdefault("large_files", {})

    def _fixed(self) -> bool:
        return self.headers.get("Transfer-Encoding") != "chunked"

    def _chunks(self) -> bytes:
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _json(self, answer: dict, status: int = 200) -> None:
        self._page(json.dumps(answer), True, status, {"Content-Type": "application/json"})
