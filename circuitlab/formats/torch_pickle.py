"""Reads `torch.save` files without torch and without running anything that stands in them.

Such a file is an uncompressed zip with one pickle, `data.pkl`, and the numbers of each tensor as a member of their own.
The pickle is read by an unpickler that knows few opcodes and few names: tensors become numpy arrays, the classes that
the caller names become `Record`s (inert: their arguments and attributes, nothing else), dtypes and devices their names.
Any other name, opcode or layout is refused before anything is built: what a name refers to is never imported.

Layout: the torch documentation, "Serialization semantics"; names of rebuilding functions from torch/_utils.py.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_PICKLE = 2**20
MAX_MEMBERS = 1000
LONGEST_NUMBER = 16
"""Bytes of the largest whole number: vocabulary and token ids fit into eight."""

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_WORDS = "float16 float32 float64 bfloat16 half float double int8 int16 int32 int64 long int uint8 bool strided"
_TORCH_WORDS = frozenset(_WORDS.split())
_BUILDING = (
    "PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE BININT BININT1 "
    "BININT2 LONG1 BINFLOAT BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL BINPERSID REDUCE NEWOBJ BUILD "
    "APPEND APPENDS SETITEM SETITEMS"
)
_OPCODES = frozenset(_BUILDING.split())


class Record:
    """An object of a class that the caller knows: its name, what it was made with, and its attributes; no behaviour."""

    def __init__(self, name: str, arguments: Sequence[Any] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.state: dict[str, Any] = {}

    def get(self, key: str, place: int | None = None, default: Any = None) -> Any:
        """An attribute by name, or an argument by its place (a named tuple has no other)."""
        if key in self.state:
            return self.state[key]
        if place is not None and place < len(self.arguments):
            return self.arguments[place]
        return default


def read_torch_file(path: Path, classes: Collection[str]) -> Any:
    """What `torch.save` wrote; `classes` are the dotted names that may stand in it, as `Record`s.

    Raises ValueError naming the file and what in it was refused.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; expected a .pt file")
    try:
        with zipfile.ZipFile(path) as archive:
            root = _check_members(path, archive)
            pickled = archive.read(f"{root}/data.pkl")
            _check_opcodes(path, pickled)
            return _Reader(path, archive, root, pickled, classes).load()
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path}: not a torch file of the kind written since torch 1.6, or cut off ({error}); nothing in it was run"
        ) from error
    except (EOFError, OSError, NotImplementedError, RuntimeError, RecursionError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: damaged or refused: {_short(error)}") from error
    except (AttributeError, IndexError, KeyError, TypeError, OverflowError, MemoryError, UnicodeError) as error:
        raise ValueError(f"{path}: data.pkl is malformed: {type(error).__name__}: {_short(error)}") from error
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {_short(error)}") from error


def _short(error: Exception) -> str:
    return str(error)[:300]


def _check_members(path: Path, archive: zipfile.ZipFile) -> str:
    """The folder that all members stand in; refuses what torch never writes: compression, doubles, stray names."""
    members = archive.infolist()
    if not 1 <= len(members) <= MAX_MEMBERS:
        raise ValueError(f"{path}: {len(members):,} members; expected 1 to {MAX_MEMBERS:,}")
    names = [member.filename for member in members]
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ValueError(f"{path}: holds {', '.join(names[:5])}; expected one name/data.pkl, as torch.save writes it")
    root = pickles[0].removesuffix("/data.pkl")
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: a member occurs twice")
    stray = next((name for name in names if not name.startswith(f"{root}/") or ".." in name), None)
    if stray is not None:
        raise ValueError(f"{path}: the member {stray!r} stands outside {root}/")
    packed = next((m for m in members if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size), None)
    if packed is not None:
        raise ValueError(f"{path}: {packed.filename} is compressed, which torch.save never does: refused")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError(f"{path}: the members claim more bytes than the file has: refused")
    if archive.getinfo(f"{root}/data.pkl").file_size > MAX_PICKLE:
        raise ValueError(f"{path}: data.pkl is larger than {MAX_PICKLE:,} bytes: refused")
    return root


def _check_opcodes(path: Path, pickled: bytes) -> None:
    """ValueError for an opcode that tensors, dictionaries and records do without; nothing is built yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # odd escapes in texts of an opcode that is refused
        for opcode, argument, place in pickletools.genops(pickled):
            _check_opcode(path, opcode.name, argument, place)


def _check_opcode(path: Path, name: str, argument: Any, place: int | None) -> None:
    if name not in _OPCODES:
        raise ValueError(f"{path}: data.pkl has the opcode {name} at byte {place}: refused, nothing was run")
    if name == "PROTO" and argument != 2:
        raise ValueError(f"{path}: data.pkl is of pickle protocol {argument}; torch.save writes 2")
    if name == "LONG1" and isinstance(argument, int) and argument.bit_length() > 8 * LONGEST_NUMBER:
        raise ValueError(f"{path}: data.pkl has a number of {argument.bit_length()} bits at byte {place}")


class _Plain(dict):
    """A dictionary with keys of text or whole numbers only: hashing anything else may take for ever."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) not in (str, int):
            raise ValueError(f"data.pkl has a {type(key).__name__} as a dictionary's key; expected text or a number")
        super().__setitem__(key, value)


class _Reader(pickle._Unpickler):
    """The pure-Python unpickler with a table of its own: opcodes outside it do not exist."""

    stack: list[Any]

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, root: str, pickled: bytes, classes: Collection[str]
    ) -> None:
        super().__init__(io.BytesIO(pickled), encoding="utf-8")
        self.path, self.archive, self.root, self.classes = path, archive, root, frozenset(classes)
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A marker for a known name; nothing is imported, whatever the name is."""
        full = f"{module}.{name}"
        if full in self.classes:
            return lambda *arguments: Record(full, arguments)
        if full in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return self._tensor
        if full == "torch._utils._rebuild_parameter":
            return lambda data, *_: _as_array(data)
        if full == "collections.OrderedDict":
            return _ordered
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return name
        if module == "torch" and name in _TORCH_WORDS:
            return name
        if full == "torch.device":
            return lambda *what: "device"
        raise ValueError(
            f"data.pkl asks for {full[:120]}, which a graph does not need: refused before anything ran. Known are "
            "tensors, dictionaries and circuit-tracer's own classes"
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """The numbers of a storage: ('storage', type, key, device, length)."""
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and pid[1] in _DTYPES):
            raise ValueError("data.pkl refers to something that is no tensor's storage: refused")
        _, kind, key, _, length = pid
        if not (isinstance(key, str) and key.isdigit() and type(length) is int and length >= 0):
            raise ValueError("data.pkl names a storage by something that is not a number: refused")
        if key not in self.storages:
            content = self.archive.read(f"{self.root}/data/{key}")
            dtype = np.dtype(_DTYPES[kind])
            if len(content) < length * dtype.itemsize:
                raise ValueError(f"data/{key} has {len(content):,} bytes; {length:,} numbers of {dtype} are claimed")
            flat = np.frombuffer(content, dtype, length)
            if kind == "BFloat16Storage":
                flat = (flat.astype(np.uint32) << 16).view(np.float32)
            self.storages[key] = flat
        return self.storages[key]

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
        """A tensor as a view of its storage, within the storage's bounds."""
        if not isinstance(storage, np.ndarray) or storage.ndim != 1 or not storage.flags.c_contiguous:
            raise ValueError("data.pkl builds a tensor on something that is no storage")
        if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) > 8:
            raise ValueError("data.pkl has a tensor whose shape is no short tuple")
        sizes = (offset, *shape, *strides)
        if len(shape) != len(strides) or any(type(n) is not int or not 0 <= n < 2**48 for n in sizes):
            raise ValueError("data.pkl has a tensor whose shape and strides are not whole numbers of the same count")
        if 0 in shape:
            return np.empty([min(n, len(storage)) for n in shape], storage.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        count = 1
        for n in shape:
            count *= n
        if last >= len(storage) or count > len(storage):
            raise ValueError(f"data.pkl has a tensor of shape {shape} that reaches beyond its {len(storage):,} numbers")
        item = storage.itemsize
        view = np.lib.stride_tricks.as_strided(storage[offset:], shape, [step * item for step in strides])
        view.flags.writeable = False
        return view

    # ---- opcodes that the standard table does differently ----

    def load_empty_dictionary(self) -> None:
        self.stack.append(_Plain())

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not callable(function) or not isinstance(arguments, tuple):
            raise ValueError("data.pkl calls something that is no known name: refused")
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        """Attributes of a record: kept as data; state for anything else (a tensor's or dictionary's) is dropped."""
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, Record) and isinstance(state, dict):
            made.state = state
        elif isinstance(made, Record) and isinstance(state, (list, tuple)):
            made.arguments = state


_TABLE: dict[int, Callable] = {
    ord(opcode.code): pickle._Unpickler.dispatch[ord(opcode.code)]
    for opcode in pickletools.opcodes
    if opcode.name in _OPCODES
}
_TABLE |= {
    pickle.EMPTY_DICT[0]: _Reader.load_empty_dictionary,
    pickle.REDUCE[0]: _Reader.load_reduce,
    pickle.NEWOBJ[0]: _Reader.load_reduce,
    pickle.BUILD[0]: _Reader.load_build,
}
_Reader.dispatch = _TABLE


def _ordered(*pairs: Any) -> _Plain:
    if pairs:
        raise ValueError("data.pkl makes an OrderedDict from pairs; torch.save sets its items one by one")
    return _Plain()


def _as_array(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ValueError("data.pkl has a parameter that is no tensor")
    return value
