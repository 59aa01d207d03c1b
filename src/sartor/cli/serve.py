"""``sartor serve``: a package over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SENT = {
    "image": "--data-binary @image.jpg",
    "text": "-H 'Content-Type: text/plain' --data-binary 'some text'",
    "record": "-H 'Content-Type: application/json' --data-binary @record.json",
}
"""How curl is told to send one input, by media."""


def command(
    package: Annotated[str, typer.Argument(help="A package: its folder or .sartor file.")],
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    token: Annotated[
        str, typer.Option(envvar="SARTOR_TOKEN", help="What clients must send as Authorization: Bearer TOKEN.")
    ] = "",
    allow_host: Annotated[list[str] | None, typer.Option(help="A further name clients reach this server by.")] = None,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Largest request in MB.")] = 20.0,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests held at once; more are turned away.")] = 16,
    gallery: Annotated[
        str, typer.Option(metavar="PLACE", help="Of faces, who is known: a folder with one folder per person.")
    ] = "",
    false_accepts: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The share of strangers that may pass; 0: 0.001.")
    ] = 0.0,
    deadline_s: Annotated[float, typer.Option(min=0.1, help="Longest time to an answer in seconds.")] = 10.0,
) -> int:
    """Serve a package: a page to try it, POST /predict and /explain, and the Open Inference Protocol V2."""
    from sartor import registry
    from sartor.cli._console import EXIT_MET
    from sartor.language import say
    from sartor.language.layout import padded
    from sartor.serve.server import serve
    from sartor.serve.settings import Settings
    from sartor.stages.package import facts, open_package

    settings = Settings(
        str(Path(package).resolve()),
        host,
        port,
        token,
        tuple(allow_host or ()),
        int(max_body_mb * 1e6),
        max_waiting,
        deadline_s,
        gallery=str(Path(gallery).resolve()) if gallery else "",
        false_accepts=false_accepts,
    )
    settings.check()
    contents = open_package(package)
    known, media = facts(contents), registry.get("tasks", contents.pipeline.task).media
    shown = f"[{host}]" if ":" in host else host
    print(say(f"{known['name']}: {known['task']}, {known['labels']} labels, {known['runtime']} {known['precision']}"))
    places = {
        "page": f"http://{shown}:{port}/",
        "one input": f"curl {_SENT[media]} http://{shown}:{port}/predict ({say('or')} /explain)",
        "protocol": f"http://{shown}:{port}/v2/models/NAME/infer (Open Inference Protocol V2)",
    }
    for name, place in places.items():
        print(f"  {padded(say(name), 11)}{place}")
    print(say("  Ctrl-C stops it"), flush=True)
    serve(settings)
    return EXIT_MET
