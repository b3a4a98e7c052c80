"""The child process: loads one thing that may hang or kill its process, and answers calls about it.

It ends when its parent does. A library may hold Python's lock for as long as it pleases, and then no thread of ours
can notice that the parent is gone: a timer beneath Python ends the process soon after the call's limit at the latest.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import queue
import shutil
import sys
import threading
from typing import Any, NoReturn, Protocol

import numpy as np

from parity.declarations import Arrays
from parity.run.pipe import Message, receive, send


class Service(Protocol):
    """What a loader gives: it says something of itself once, and then answers calls."""

    def about(self) -> dict[str, Any]: ...

    def call(self, verb: str, details: dict[str, Any], arrays: Arrays) -> Message: ...


def serve(scratch: str) -> NoReturn:
    """Load once, then answer, until the parent says close or is gone; it leaves no `scratch` folder behind then."""
    requests, replies = os.dup(0), os.dup(1)
    # Whatever a library prints goes to stderr, which the parent keeps; it must never get among the messages.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    faulthandler.enable()
    inbox: queue.Queue[Message] = queue.Queue(1)
    threading.Thread(target=_listen, args=(requests, inbox, scratch), daemon=True).start()
    service: Service | None = None
    while True:
        fields, arrays = inbox.get()
        if fields["verb"] == "close":
            # What the service made is for it to take away; the rest of the interpreter may go as it is.
            service = None
            gc.collect()
            os._exit(0)
        faulthandler.dump_traceback_later(fields["end_after"], exit=True)
        details: dict[str, Any]
        results: dict[str, np.ndarray[Any, Any]]
        try:
            if service is None:
                service = _load(fields["details"]["loader"], fields["details"]["arguments"])
                details, results = service.about(), {}
            else:
                details, results = service.call(fields["verb"], fields["details"], arrays)
            answer: dict[str, Any] = {"details": details}
        except Exception as error:
            answer, results = {"error": f"{type(error).__name__}: {error}"}, {}
        faulthandler.cancel_dump_traceback_later()
        _reply(replies, answer, results)


def _reply(replies: int, answer: dict[str, Any], results: dict[str, np.ndarray[Any, Any]]) -> None:
    try:
        send(replies, answer, results)
    except BrokenPipeError:
        os._exit(0)


def _listen(requests: int, inbox: queue.Queue[Message], scratch: str) -> None:
    """In a thread of its own, so that the end of the parent is noticed in the middle of a call."""
    try:
        while True:
            inbox.put(receive(requests))
    except EOFError:
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(0)
    except BaseException as error:
        print(f"the child cannot read what it is asked: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)


def _load(loader: str, arguments: dict[str, Any]) -> Service:
    module, _, function = loader.partition(":")
    service: Service = getattr(importlib.import_module(module), function)(**arguments)
    return service
