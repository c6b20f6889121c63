"""The 79 candle patterns as the catalogue states them, in fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Candle:
    """One closed candle; ``received_ns`` is when it was last stated."""

    received_ns: int
    open: Fraction
    high: Fraction
    low: Fraction
    close: Fraction
    volume: Fraction

    @property
    def green(self) -> bool:
        return self.close > self.open

    @property
    def red(self) -> bool:
        return not self.green

    @property
    def body(self) -> Fraction:
        return abs(self.close - self.open) / self.open

    @property
    def range(self) -> Fraction:
        return (self.high - self.low) / self.open

    @property
    def up(self) -> Fraction:
        return (self.high - max(self.open, self.close)) / self.open

    @property
    def lo(self) -> Fraction:
        return (min(self.open, self.close) - self.low) / self.open

    @property
    def doji(self) -> bool:
        return self.body < Fraction("0.0005") * self.range and self.range > 0

    @property
    def hammer(self) -> bool:
        return self.lo > 2 * self.body and self.up < Fraction("0.3") * self.body and self.body > 0

    @property
    def inverted_hammer(self) -> bool:
        return self.up > 2 * self.body and self.lo < Fraction("0.3") * self.body and self.body > 0

    @property
    def pin_bar(self) -> bool:
        return any(shadow > Fraction(2, 3) * self.range and shadow > 2 * self.body for shadow in (self.up, self.lo))


def near(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) / max(one, other) < Fraction("0.001")


def floored_mean(values: Sequence[Fraction], floor: str) -> Fraction:
    return max(sum(values, Fraction(0)) / 3, Fraction(floor))


def candle_features(three: Sequence[Candle]) -> dict[str, bool]:
    """Every feature of the ``candles`` group for the last three candles, oldest first."""
    first, second, third = three
    g0, g1, g2 = (candle.green for candle in three)
    b0, b1, b2 = (candle.body for candle in three)
    v0, v1, v2 = (candle.volume for candle in three)
    bt = floored_mean([b0, b1, b2], "0.0001")
    ut = floored_mean([candle.up for candle in three], "0.0001")
    lt = floored_mean([candle.lo for candle in three], "0.0001")
    vt = floored_mean([v0, v1, v2], "0.00000001")
    half = bt / 2
    found: dict[str, bool] = {}
    for i, candle in enumerate(three):
        found |= {
            f"candle_{i}_is_green": candle.green,
            f"candle_{i}_is_red": candle.close < candle.open,
            f"candle_{i}_body_large": candle.body > bt,
            f"candle_{i}_body_small": candle.body <= bt,
            f"candle_{i}_upper_shadow_large": candle.up > ut,
            f"candle_{i}_upper_shadow_small": candle.up <= ut,
            f"candle_{i}_lower_shadow_large": candle.lo > lt,
            f"candle_{i}_lower_shadow_small": candle.lo <= lt,
            f"candle_{i}_volume_large": candle.volume > vt,
            f"candle_{i}_volume_small": candle.volume <= vt,
            f"candle_{i}_is_doji": candle.doji,
            f"candle_{i}_is_hammer": candle.hammer,
            f"candle_{i}_is_inverted_hammer": candle.inverted_hammer,
            f"candle_{i}_is_shooting_star": candle.inverted_hammer and candle.close < candle.open,
            f"candle_{i}_is_pin_bar": candle.pin_bar,
        }
    inside = third.high < second.high and third.low > second.low
    quiet_after_large = (
        b0 > bt
        and b1 < half
        and b2 < half
        and all(candle.low >= Fraction("0.999") * first.low for candle in (second, third))
        and all(candle.high <= Fraction("1.001") * first.high for candle in (second, third))
    )
    patterns = {
        "all_green": g0 and g1 and g2,
        "all_red": not (g0 or g1 or g2),
        "green_red_green": g0 and not g1 and g2,
        "red_green_red": not g0 and g1 and not g2,
        "green_green_red": g0 and g1 and not g2,
        "red_red_green": not g0 and not g1 and g2,
        "body_increasing": b0 < b1 < b2,
        "body_decreasing": b0 > b1 > b2,
        "body_middle_peak": b1 > b0 and b1 > b2,
        "body_middle_low": b1 < b0 and b1 < b2,
        "volume_increasing": v0 < v1 < v2,
        "volume_decreasing": v0 > v1 > v2,
        "volume_middle_peak": v1 > v0 and v1 > v2,
        "green_large_volume": g2 and v2 > vt,
        "red_large_volume": not g2 and v2 > vt,
        "green_small_volume": g2 and v2 <= vt,
        "red_small_volume": not g2 and v2 <= vt,
        "bullish_engulfing": g2 and second.red and third.open < second.close and third.close > second.open,
        "bearish_engulfing": third.red and g1 and third.open > second.close and third.close < second.open,
        "upper_shadows_increasing": first.up < second.up < third.up,
        "lower_shadows_increasing": first.lo < second.lo < third.lo,
        "evening_star": g0 and b0 > bt and b1 < half and third.red and b2 > bt,
        "morning_star": first.red and b0 > bt and b1 < half and g2 and b2 > bt,
        "doji_star": second.doji and b0 > bt and b2 > bt,
        "bullish_harami": second.red
        and b1 > bt
        and g2
        and b2 < half
        and third.open > second.close
        and third.close < second.open,
        "bearish_harami": g1
        and b1 > bt
        and third.red
        and b2 < half
        and third.open < second.close
        and third.close > second.open,
        "bullish_engulfing_touching": g2
        and second.close < second.open
        and third.open <= second.close
        and third.close >= second.open,
        "bearish_engulfing_touching": third.close < third.open
        and g1
        and third.open >= second.close
        and third.close <= second.open,
        "bullish_harami_touching": second.close < second.open
        and b1 > bt
        and g2
        and b2 < half
        and second.close <= third.open
        and third.close <= second.open,
        "bearish_harami_touching": g1
        and b1 > bt
        and third.close < third.open
        and b2 < half
        and third.open <= second.close
        and third.close >= second.open,
        "rising_three_methods": g0 and quiet_after_large,
        "falling_three_methods": first.red and quiet_after_large,
        "inside_bar": inside,
        "inside_bar_bullish": inside and g2,
        "inside_bar_bearish": inside and third.red,
        "hanging_man": third.red and third.hammer and g0 and g1,
        "tweezers_top": near(second.high, third.high) and second.up > 0 and third.up > 0,
        "tweezers_bottom": near(second.low, third.low) and second.lo > 0 and third.lo > 0,
    }
    return found | {f"pattern_{name}": holds for name, holds in patterns.items()}
