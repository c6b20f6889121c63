"""What shape the last three candles have: patterns of closed one-minute klines, 1.0 where they hold and 0.0 where not.

Candle 0 is the oldest, 2 the newest. body = |close - open| / open, range = (high - low) / open, upper shadow = (high -
max(open, close)) / open, lower shadow = (min(open, close) - low) / open; body0 is that of candle 0, upper and lower are
its shadows. Means are over the three candles, BT = max(mean body, 1e-4). G0: candle 0 is green, close > open; "red" in
a pattern means not green. doji1: candle_1_is_doji.
"""

from __future__ import annotations

from typing import Any

from transforms.candle_shape import (
    are_near,
    bodies_px,
    body,
    body_px,
    has_large_volume,
    is_below_half,
    is_doji,
    is_green,
    is_hammer,
    is_inside,
    is_inverted_hammer,
    is_large,
    is_pin,
    is_red,
    is_rest_of_three_methods,
    is_small_between_large,
    lower,
    lower_px,
    lowers_px,
    range_px,
    truth,
    upper,
    upper_px,
    uppers_px,
)
from transforms.declaration import KLINES, feature

CANDLES = 3
POSITIONS = (0, 1, 2)


@feature("candle_{i}_is_green", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_is_green(candles: Any, i: int) -> float:
    """Whether the candle closed above its open.

    Formula: close > open
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, i))


@feature("candle_{i}_is_red", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_is_red(candles: Any, i: int) -> float:
    """Whether the candle closed below its open.

    Formula: close < open
    NaN: one of the three candles is missing.
    """
    return truth(is_red(candles, i))


@feature("candle_{i}_body_large", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_body_large(candles: Any, i: int) -> float:
    """Whether the candle has a large body.

    Formula: body > max(mean body, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(is_large(candles, bodies_px(candles), i))


@feature("candle_{i}_body_small", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_body_small(candles: Any, i: int) -> float:
    """Whether the candle has no large body.

    Formula: body <= max(mean body, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(not is_large(candles, bodies_px(candles), i))


@feature("candle_{i}_upper_shadow_large", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_upper_shadow_large(candles: Any, i: int) -> float:
    """Whether the candle has a large upper shadow.

    Formula: upper shadow > max(mean upper shadow, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(is_large(candles, uppers_px(candles), i))


@feature("candle_{i}_upper_shadow_small", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_upper_shadow_small(candles: Any, i: int) -> float:
    """Whether the candle has no large upper shadow.

    Formula: upper shadow <= max(mean upper shadow, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(not is_large(candles, uppers_px(candles), i))


@feature("candle_{i}_lower_shadow_large", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_lower_shadow_large(candles: Any, i: int) -> float:
    """Whether the candle has a large lower shadow.

    Formula: lower shadow > max(mean lower shadow, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(is_large(candles, lowers_px(candles), i))


@feature("candle_{i}_lower_shadow_small", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_lower_shadow_small(candles: Any, i: int) -> float:
    """Whether the candle has no large lower shadow.

    Formula: lower shadow <= max(mean lower shadow, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(not is_large(candles, lowers_px(candles), i))


@feature("candle_{i}_volume_large", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_volume_large(candles: Any, i: int, scale: Any) -> float:
    """Whether the candle has a large volume.

    Formula: volume > max(mean volume, 1e-8)
    NaN: one of the three candles is missing.
    """
    return truth(has_large_volume(candles, i, scale))


@feature("candle_{i}_volume_small", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_volume_small(candles: Any, i: int, scale: Any) -> float:
    """Whether the candle has no large volume.

    Formula: volume <= max(mean volume, 1e-8)
    NaN: one of the three candles is missing.
    """
    return truth(not has_large_volume(candles, i, scale))


@feature("candle_{i}_is_doji", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_is_doji(candles: Any, i: int) -> float:
    """Whether the candle has next to no body.

    Formula: body < 0.0005 * range, range > 0
    NaN: one of the three candles is missing.
    """
    return truth(is_doji(candles, i))


@feature("candle_{i}_is_hammer", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_is_hammer(candles: Any, i: int) -> float:
    """Whether the candle is a hammer.

    Formula: lower shadow > 2 * body, upper shadow < 0.3 * body, body > 0
    NaN: one of the three candles is missing.
    """
    return truth(is_hammer(candles, i))


@feature("candle_{i}_is_inverted_hammer", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_is_inverted_hammer(candles: Any, i: int) -> float:
    """Whether the candle is an inverted hammer.

    Formula: upper shadow > 2 * body, lower shadow < 0.3 * body, body > 0
    NaN: one of the three candles is missing.
    """
    return truth(is_inverted_hammer(candles, i))


@feature("candle_{i}_is_shooting_star", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_is_shooting_star(candles: Any, i: int) -> float:
    """Whether the candle is a shooting star.

    Formula: an inverted hammer with close < open
    NaN: one of the three candles is missing.
    """
    return truth(is_inverted_hammer(candles, i) and is_red(candles, i))


@feature("candle_{i}_is_pin_bar", reads=KLINES, i=POSITIONS, candles=CANDLES, unit="1", low=0.0, high=1.0)
def candle_is_pin_bar(candles: Any, i: int) -> float:
    """Whether the candle is a pin bar.

    Formula: one shadow > 2/3 * range and > 2 * body
    NaN: one of the three candles is missing.
    """
    whole = range_px(candles, i)
    tall = body_px(candles, i)
    return truth(is_pin(upper_px(candles, i), whole, tall) or is_pin(lower_px(candles, i), whole, tall))


@feature("pattern_all_green", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_all_green(candles: Any) -> float:
    """All three candles are green.

    Formula: G0, G1, G2
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, 0) and is_green(candles, 1) and is_green(candles, 2))


@feature("pattern_all_red", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_all_red(candles: Any) -> float:
    """No candle is green.

    Formula: not G0, not G1, not G2
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 0) and not is_green(candles, 1) and not is_green(candles, 2))


@feature("pattern_green_red_green", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_green_red_green(candles: Any) -> float:
    """Green, red, green.

    Formula: G0, not G1, G2
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, 0) and not is_green(candles, 1) and is_green(candles, 2))


@feature("pattern_red_green_red", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_red_green_red(candles: Any) -> float:
    """Red, green, red.

    Formula: not G0, G1, not G2
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 0) and is_green(candles, 1) and not is_green(candles, 2))


@feature("pattern_green_green_red", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_green_green_red(candles: Any) -> float:
    """Green, green, red.

    Formula: G0, G1, not G2
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, 0) and is_green(candles, 1) and not is_green(candles, 2))


@feature("pattern_red_red_green", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_red_red_green(candles: Any) -> float:
    """Red, red, green.

    Formula: not G0, not G1, G2
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 0) and not is_green(candles, 1) and is_green(candles, 2))


@feature("pattern_body_increasing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_body_increasing(candles: Any) -> float:
    """Bodies grow.

    Formula: body0 < body1 < body2
    NaN: one of the three candles is missing.
    """
    return truth(body(candles, 0) < body(candles, 1) < body(candles, 2))


@feature("pattern_body_decreasing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_body_decreasing(candles: Any) -> float:
    """Bodies shrink.

    Formula: body0 > body1 > body2
    NaN: one of the three candles is missing.
    """
    return truth(body(candles, 0) > body(candles, 1) > body(candles, 2))


@feature("pattern_body_middle_peak", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_body_middle_peak(candles: Any) -> float:
    """The middle body is the largest.

    Formula: body1 > body0, body1 > body2
    NaN: one of the three candles is missing.
    """
    return truth(body(candles, 1) > max(body(candles, 0), body(candles, 2)))


@feature("pattern_body_middle_low", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_body_middle_low(candles: Any) -> float:
    """The middle body is the smallest.

    Formula: body1 < body0, body1 < body2
    NaN: one of the three candles is missing.
    """
    return truth(body(candles, 1) < min(body(candles, 0), body(candles, 2)))


@feature("pattern_volume_increasing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_volume_increasing(candles: Any) -> float:
    """Volumes grow.

    Formula: volume0 < volume1 < volume2
    NaN: one of the three candles is missing.
    """
    return truth(candles.volume[0] < candles.volume[1] < candles.volume[2])


@feature("pattern_volume_decreasing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_volume_decreasing(candles: Any) -> float:
    """Volumes shrink.

    Formula: volume0 > volume1 > volume2
    NaN: one of the three candles is missing.
    """
    return truth(candles.volume[0] > candles.volume[1] > candles.volume[2])


@feature("pattern_volume_middle_peak", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_volume_middle_peak(candles: Any) -> float:
    """The middle volume is the largest.

    Formula: volume1 > volume0, volume1 > volume2
    NaN: one of the three candles is missing.
    """
    return truth(candles.volume[1] > max(candles.volume[0], candles.volume[2]))


@feature("pattern_green_large_volume", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_green_large_volume(candles: Any, scale: Any) -> float:
    """The newest candle is green with a large volume.

    Formula: G2, volume2 > max(mean volume, 1e-8)
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, 2) and has_large_volume(candles, 2, scale))


@feature("pattern_red_large_volume", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_red_large_volume(candles: Any, scale: Any) -> float:
    """The newest candle is red with a large volume.

    Formula: not G2, volume2 > max(mean volume, 1e-8)
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 2) and has_large_volume(candles, 2, scale))


@feature("pattern_green_small_volume", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_green_small_volume(candles: Any, scale: Any) -> float:
    """The newest candle is green without a large volume.

    Formula: G2, volume2 <= max(mean volume, 1e-8)
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, 2) and not has_large_volume(candles, 2, scale))


@feature("pattern_red_small_volume", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_red_small_volume(candles: Any, scale: Any) -> float:
    """The newest candle is red without a large volume.

    Formula: not G2, volume2 <= max(mean volume, 1e-8)
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 2) and not has_large_volume(candles, 2, scale))


@feature("pattern_bullish_engulfing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bullish_engulfing(candles: Any) -> float:
    """A green body engulfs the red one before.

    Formula: G2, not G1, open2 < close1, close2 > open1
    NaN: one of the three candles is missing.
    """
    return truth(
        is_green(candles, 2)
        and not is_green(candles, 1)
        and candles.open[2] < candles.close[1]
        and candles.close[2] > candles.open[1]
    )


@feature("pattern_bearish_engulfing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bearish_engulfing(candles: Any) -> float:
    """A red body engulfs the green one before.

    Formula: not G2, G1, open2 > close1, close2 < open1
    NaN: one of the three candles is missing.
    """
    return truth(
        not is_green(candles, 2)
        and is_green(candles, 1)
        and candles.open[2] > candles.close[1]
        and candles.close[2] < candles.open[1]
    )


@feature("pattern_upper_shadows_increasing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_upper_shadows_increasing(candles: Any) -> float:
    """Upper shadows grow.

    Formula: upper0 < upper1 < upper2
    NaN: one of the three candles is missing.
    """
    return truth(upper(candles, 0) < upper(candles, 1) < upper(candles, 2))


@feature("pattern_lower_shadows_increasing", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_lower_shadows_increasing(candles: Any) -> float:
    """Lower shadows grow.

    Formula: lower0 < lower1 < lower2
    NaN: one of the three candles is missing.
    """
    return truth(lower(candles, 0) < lower(candles, 1) < lower(candles, 2))


@feature("pattern_evening_star", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_evening_star(candles: Any) -> float:
    """Large green, small, large red: a turn downwards.

    Formula: G0, body0 > BT, body1 < 0.5 * BT, not G2, body2 > BT; BT = max(mean body, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, 0) and not is_green(candles, 2) and is_small_between_large(candles))


@feature("pattern_morning_star", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_morning_star(candles: Any) -> float:
    """Large red, small, large green: a turn upwards.

    Formula: not G0, body0 > BT, body1 < 0.5 * BT, G2, body2 > BT; BT = max(mean body, 1e-4)
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 0) and is_green(candles, 2) and is_small_between_large(candles))


@feature("pattern_doji_star", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_doji_star(candles: Any) -> float:
    """A doji between two large bodies.

    Formula: doji1, body0 > BT, body2 > BT; BT = max(mean body, 1e-4)
    NaN: one of the three candles is missing.
    """
    bodies = bodies_px(candles)
    return truth(is_doji(candles, 1) and is_large(candles, bodies, 0) and is_large(candles, bodies, 2))


@feature("pattern_bullish_harami", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bullish_harami(candles: Any) -> float:
    """A small green body inside the large red one before.

    Formula: not G1, body1 > BT, G2, body2 < 0.5 * BT, open2 > close1, close2 < open1
    NaN: one of the three candles is missing.
    """
    bodies = bodies_px(candles)
    return truth(
        is_large(candles, bodies, 1)
        and is_below_half(candles, bodies, 2)
        and not is_green(candles, 1)
        and is_green(candles, 2)
        and candles.open[2] > candles.close[1]
        and candles.close[2] < candles.open[1]
    )


@feature("pattern_bearish_harami", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bearish_harami(candles: Any) -> float:
    """A small red body inside the large green one before.

    Formula: G1, body1 > BT, not G2, body2 < 0.5 * BT, open2 < close1, close2 > open1
    NaN: one of the three candles is missing.
    """
    bodies = bodies_px(candles)
    return truth(
        is_large(candles, bodies, 1)
        and is_below_half(candles, bodies, 2)
        and is_green(candles, 1)
        and not is_green(candles, 2)
        and candles.open[2] < candles.close[1]
        and candles.close[2] > candles.open[1]
    )


@feature("pattern_rising_three_methods", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_rising_three_methods(candles: Any) -> float:
    """A large green body and two small ones within its range.

    Formula: G0, body0 > BT, body1 and body2 < 0.5 * BT, low1 and low2 >= 0.999 * low0,
        high1 and high2 <= 1.001 * high0
    NaN: one of the three candles is missing.
    """
    return truth(is_green(candles, 0) and is_rest_of_three_methods(candles))


@feature("pattern_falling_three_methods", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_falling_three_methods(candles: Any) -> float:
    """A large red body and two small ones within its range.

    Formula: not G0, body0 > BT, body1 and body2 < 0.5 * BT, low1 and low2 >= 0.999 * low0,
        high1 and high2 <= 1.001 * high0
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 0) and is_rest_of_three_methods(candles))


@feature("pattern_inside_bar", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_inside_bar(candles: Any) -> float:
    """The newest candle lies inside the one before.

    Formula: high2 < high1, low2 > low1
    NaN: one of the three candles is missing.
    """
    return truth(is_inside(candles))


@feature("pattern_inside_bar_bullish", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_inside_bar_bullish(candles: Any) -> float:
    """The newest candle is green and lies inside the one before.

    Formula: high2 < high1, low2 > low1, G2
    NaN: one of the three candles is missing.
    """
    return truth(is_inside(candles) and is_green(candles, 2))


@feature("pattern_inside_bar_bearish", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_inside_bar_bearish(candles: Any) -> float:
    """The newest candle is red and lies inside the one before.

    Formula: high2 < high1, low2 > low1, not G2
    NaN: one of the three candles is missing.
    """
    return truth(is_inside(candles) and not is_green(candles, 2))


@feature("pattern_hanging_man", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_hanging_man(candles: Any) -> float:
    """A red hammer after two green candles.

    Formula: not G2, lower2 > 2 * body2, upper2 < 0.3 * body2, body2 > 0, G0, G1
    NaN: one of the three candles is missing.
    """
    return truth(not is_green(candles, 2) and is_hammer(candles, 2) and is_green(candles, 0) and is_green(candles, 1))


@feature("pattern_tweezers_top", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_tweezers_top(candles: Any) -> float:
    """Two highs at next to the same price.

    Formula: |high1 - high2| / max(high1, high2) < 0.001, upper1 > 0, upper2 > 0
    NaN: one of the three candles is missing.
    """
    return truth(are_near(candles.high[1], candles.high[2]) and upper_px(candles, 1) > 0 and upper_px(candles, 2) > 0)


@feature("pattern_tweezers_bottom", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_tweezers_bottom(candles: Any) -> float:
    """Two lows at next to the same price.

    Formula: |low1 - low2| / max(low1, low2) < 0.001, lower1 > 0, lower2 > 0
    NaN: one of the three candles is missing.
    """
    return truth(are_near(candles.low[1], candles.low[2]) and lower_px(candles, 1) > 0 and lower_px(candles, 2) > 0)


@feature("pattern_bullish_engulfing_touching", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bullish_engulfing_touching(candles: Any) -> float:
    """A green body that holds the red one before, to whose close its open may be equal, and its close to that open.

    Formula: G2, close1 < open1, open2 <= close1, close2 >= open1
    NaN: one of the three candles is missing.
    """
    return truth(
        is_green(candles, 2)
        and is_red(candles, 1)
        and candles.open[2] <= candles.close[1]
        and candles.close[2] >= candles.open[1]
    )


@feature("pattern_bearish_engulfing_touching", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bearish_engulfing_touching(candles: Any) -> float:
    """A red body that holds the green one before, to whose close its open may be equal, and its close to that open.

    Formula: close2 < open2, G1, open2 >= close1, close2 <= open1
    NaN: one of the three candles is missing.
    """
    return truth(
        is_red(candles, 2)
        and is_green(candles, 1)
        and candles.open[2] >= candles.close[1]
        and candles.close[2] <= candles.open[1]
    )


@feature("pattern_bullish_harami_touching", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bullish_harami_touching(candles: Any) -> float:
    """A small green body in the large red one before, whose ends it may touch.

    Formula: close1 < open1, body1 > BT, G2, body2 < 0.5 * BT, open2 >= close1, close2 <= open1;
        BT = max(mean body, 1e-4)
    NaN: one of the three candles is missing.
    """
    bodies = bodies_px(candles)
    return truth(
        is_large(candles, bodies, 1)
        and is_below_half(candles, bodies, 2)
        and is_red(candles, 1)
        and is_green(candles, 2)
        and candles.open[2] >= candles.close[1]
        and candles.close[2] <= candles.open[1]
    )


@feature("pattern_bearish_harami_touching", reads=KLINES, candles=CANDLES, unit="1", low=0.0, high=1.0)
def pattern_bearish_harami_touching(candles: Any) -> float:
    """A small red body in the large green one before, whose ends it may touch.

    Formula: G1, body1 > BT, close2 < open2, body2 < 0.5 * BT, open2 <= close1, close2 >= open1;
        BT = max(mean body, 1e-4)
    NaN: one of the three candles is missing.
    """
    bodies = bodies_px(candles)
    return truth(
        is_large(candles, bodies, 1)
        and is_below_half(candles, bodies, 2)
        and is_green(candles, 1)
        and is_red(candles, 2)
        and candles.open[2] <= candles.close[1]
        and candles.close[2] >= candles.open[1]
    )
