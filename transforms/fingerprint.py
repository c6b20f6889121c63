"""Fingerprints: the identity of the code and parameters that compute a feature group.

The fingerprint hashes the syntax trees, without prose, of the group's functions and of everything they use in this
package or their own, of the functions that bring the group's source into the state, and of the declared parameters.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, Final

from market.events import CANDLE, KLINE, ORDERBOOK, POSITION, TICKER, TRADE
from transforms import bars, candles, order_book, position, steps, ticker, tiles
from transforms.declaration import Feature
from transforms.inputs import INPUTS
from transforms.jit import python_function

_OURS: Final = ("transforms", "market")
_SOURCE_ROOTS: Final[dict[int | None, tuple[Callable[..., Any], ...]]] = {
    ORDERBOOK: (
        order_book.apply_order_book_record,
        order_book.break_book,
        tiles.close_tile,
        tiles.collect_mids,
        tiles.last_mids,
        tiles.collect_log_returns,
        tiles.last_log_returns,
        tiles.quote_window,
        steps.book_reason,
        steps.book_status,
    ),
    TRADE: (
        tiles.apply_trade_record,
        tiles.close_tile,
        tiles.trade_window,
        steps.trade_reason,
        steps.source_status,
    ),
    KLINE: (
        candles.apply_kline_record,
        candles.collect_candles,
        candles.last_candles,
        steps.candle_reason,
        steps.source_status,
    ),
    CANDLE: (
        bars.apply_bar_record,
        bars.collect_bars,
        bars.last_bars,
        steps.bar_reason,
        steps.bar_status,
    ),
    TICKER: (
        ticker.apply_ticker_record,
        ticker.merged_ticker,
        ticker.forget_ticker,
        tiles.close_tile,
        tiles.open_interest_before,
        steps.history_reason,
        steps.source_status,
        steps.ticker_status,
        steps.unknown_ticker,
        steps.start_again,
    ),
    POSITION: (
        position.apply_position_record,
        position.present_position,
        order_book.apply_order_book_record,
        order_book.break_book,
        tiles.close_tile,
        tiles.present_twice_mid,
        steps.book_reason,
        steps.source_status,
    ),
    None: (),
}


def fingerprint_of(features: Sequence[Feature], *, horizon_ns: int, warm_up_ns: int) -> str:
    """Sixteen hex digits that change when a value of the group could."""
    digest = hashlib.sha256(f"{horizon_ns} {warm_up_ns}".encode())
    for declared in features:
        parameters = sorted(declared.parameters.items())
        inputs = [(name, INPUTS[name].expression) for name in declared.inputs if name in INPUTS]
        digest.update(
            repr((declared.name, declared.inputs, inputs, parameters, declared.window_s, declared.candles)).encode()
        )
        digest.update(repr((declared.horizon_ns, declared.warm_up_ns)).encode())
    roots = [*(declared.function for declared in features), *_SOURCE_ROOTS[features[0].source.value]]
    digest.update(code_fingerprint(roots).encode())
    return digest.hexdigest()[:16]


def code_fingerprint(roots: Iterable[Callable[..., Any]]) -> str:
    """Sixteen hex digits of the code of the functions and of everything they use in our packages."""
    digest = hashlib.sha256()
    for piece in sorted(_closure(python_function(root) for root in roots)):
        digest.update(piece.encode())
    return digest.hexdigest()[:16]


def _closure(roots: Iterable[Callable[..., Any]]) -> set[str]:
    """Code of the functions and of everything they refer to in our packages."""
    seen: set[Callable[..., Any]] = set()
    pieces: set[str] = set()
    waiting = list(roots)
    packages = {*_OURS, *(root.__module__.partition(".")[0] for root in waiting)}
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        tree, names = _code(function)
        pieces.add(tree)
        for name in names & function.__globals__.keys():
            value = function.__globals__[name]
            target = python_function(value) if callable(value) else value
            if inspect.isfunction(target) and target.__module__.partition(".")[0] in packages:
                waiting.append(target)
            elif inspect.isclass(target) and target.__module__.partition(".")[0] in packages:
                pieces.add(f"{name} {getattr(target, '_fields', ())}")
            elif not callable(value) and not isinstance(value, ModuleType):
                pieces.add(f"{name} = {value!r}")
    return pieces


@cache
def _code(function: Callable[..., Any]) -> tuple[str, frozenset[str]]:
    """The function's syntax tree without decorators, annotations and prose, and every name in it."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(definition, ast.FunctionDef)
    body = [
        statement
        for statement in definition.body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]
    arguments = [argument.arg for argument in definition.args.args]
    names = frozenset(node.id for statement in body for node in ast.walk(statement) if isinstance(node, ast.Name))
    return repr((definition.name, arguments, [_dumped(statement) for statement in body])), names


def _dumped(node: ast.AST) -> str:
    """The same text from every Python that the service runs on."""
    if sys.version_info >= (3, 13):  # which leaves out empty lists unless told not to
        return ast.dump(node, show_empty=True)
    return ast.dump(node)
