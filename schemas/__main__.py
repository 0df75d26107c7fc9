"""``python -m schemas``: JSON Schema and AsyncAPI of everything on the bus, made from the structs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from schemas.alerts import Alert
from schemas.candles import FootprintCandle
from schemas.detections import SIGNALS, Detection
from schemas.events import EVENTS, Kline, kind
from schemas.instruments import Instrument
from schemas.names import HEADER_EVENTS, HEADER_ID, HEADER_ORIGIN, HEADER_REASON, WORD

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"
_EXCHANGE = {"description": "Exchange id, e.g. binance"}
_SYMBOL = {"description": "Canonical symbol, e.g. BTC-USDT"}


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of every event, the footprint candle, detections, alerts and the instrument."""
    types = (*EVENTS, FootprintCandle, Detection, Alert, Instrument)
    _, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "flowtape", "$defs": components}


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0: subjects, headers and payloads as CONTRACT names them."""
    _, components = msgspec.json.schema_components(
        (*EVENTS, FootprintCandle, Detection, Alert), ref_template="#/components/schemas/{name}"
    )
    channels: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for event in EVENTS:
        name = kind(event)
        parameters = {"exchange": _EXCHANGE}
        address = f"md.{name}.{{exchange}}"
        if name in WORD:
            address, parameters = address + ".{symbol}", {**parameters, "symbol": _SYMBOL}
        if event is Kline:
            address, parameters = address + ".{interval}", {**parameters, "interval": {"description": "e.g. 1m"}}
        messages[name] = _message(event.__name__)
        channels[name] = _channel(address, parameters, name)
    messages["footprint"] = _message("FootprintCandle")
    address = "sig.footprint.{exchange}.{symbol}.{interval}"
    channels["footprint"] = _channel(
        address, {"exchange": _EXCHANGE, "symbol": _SYMBOL, "interval": {"description": "e.g. 1m"}}, "footprint"
    )
    messages["detection"] = _message("Detection")
    more = {"signal": {"enum": list(SIGNALS)}, "exchange": _EXCHANGE, "symbol": _SYMBOL}
    channels["detection"] = _channel("sig.{signal}.{exchange}.{symbol}", more, "detection")
    of_candles = {**more, "interval": {"description": "e.g. 1m"}}
    channels["candle_detection"] = _channel(f"{channels['detection']['address']}.{{interval}}", of_candles, "detection")
    messages["alert"] = _message("Alert")
    of_rules = {
        "rule": {"description": "Name of a rule of the configuration"},
        "exchange": _EXCHANGE,
        "symbol": _SYMBOL,
    }
    channels["alert"] = _channel("sig.alert.{rule}.{exchange}.{symbol}", of_rules, "alert")
    messages["dead"] = {
        "headers": _headers(HEADER_REASON, HEADER_ORIGIN),
        "payload": {"description": "The bytes as they came."},
    }
    channels["dead"] = _channel("md.dead.{kind}.{exchange}", {"kind": {}, "exchange": _EXCHANGE}, "dead")
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "flowtape", "version": "1", "description": "One JSON object per line of a payload."},
        "channels": channels,
        "operations": {
            f"receive_{name}": {"action": "receive", "channel": {"$ref": f"#/channels/{name}"}} for name in channels
        },
        "components": {"schemas": components, "messages": messages},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _message(schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"contentType": "application/x-ndjson", "headers": _headers(HEADER_ID, HEADER_EVENTS), "payload": reference}


def _channel(address: str, parameters: dict[str, Any], message: str) -> dict[str, Any]:
    messages = {message: {"$ref": f"#/components/messages/{message}"}}
    return {"address": address, "parameters": parameters, "messages": messages}


def documents() -> dict[str, bytes]:
    """File name → content of everything generated."""
    made = {"events.schema.json": json_schema(), "asyncapi.json": asyncapi()}
    return {name: msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n" for name, body in made.items()}


def main() -> None:
    """Write the documents into docs/schemas."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in documents().items():
        (FOLDER / name).write_bytes(content)
        sys.stdout.write(f"docs/schemas/{name}\n")


if __name__ == "__main__":
    main()
