"""Contact sheet: a picture of clips, one strip of frames below the other, with captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_WIDTH_PX, _MIN_WIDTH_PX = 2400, 720
_MAX_TILE_PX, _MIN_TILE_PX = 160, 80
_MARGIN_PX, _GAP_PX, _LABEL_PX = 16, 2, 96
_TITLE_PX, _TEXT_PX, _LINE_PX = 14, 12, 18
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True, slots=True)
class Strip:
    """The frames of one clip.

    Args:
        label: One or two words in front of the frames.
        frames: (T, H, W, 3) uint8 RGB.
    """

    label: str
    frames: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Row:
    """One video.

    Args:
        title: Dataset, class and path of the video.
        detail: Drawn augmentation parameters, or the reason for missing frames.
        numbers: Frame numbers, printed above the frames; () for none.
        strips: Clips of the video.
    """

    title: str
    detail: str = ""
    numbers: tuple[int, ...] = ()
    strips: tuple[Strip, ...] = ()


def draw_sheet(rows: Sequence[Row], heading: str) -> Any:
    """Draw rows below each other.

    Frames of 80 to 160 pixels keep their size. Smaller frames are enlarged by repeating pixels,
    larger frames are reduced. Clips wider than 2400 pixels are subsampled evenly.

    Args:
        rows: At least one row.
        heading: One line of text at the top.

    Returns:
        A PIL image.
    """
    from PIL import Image

    sheet = _Sheet([strip for row in rows for strip in row.strips])
    parts = [sheet.draw_text(heading, _TITLE_PX + 2, _INK)]
    for row in rows:
        parts.append(sheet.blank(_LINE_PX // 2))
        parts.append(sheet.draw_text(row.title, _TITLE_PX, _INK))
        if row.detail:
            parts.append(sheet.draw_text(row.detail, _TEXT_PX, _FAINT))
        if row.numbers and row.strips:
            parts.append(sheet.draw_numbers(row.numbers))
        parts += [sheet.draw_strip(strip) for strip in row.strips]
    height = sum(part.height for part in parts) + 2 * _MARGIN_PX
    image = Image.new("RGB", (sheet.width, height), _PAPER)
    top = _MARGIN_PX
    for part in parts:
        image.paste(part, (0, top))
        top += part.height
    return image


class _Sheet:
    """Common sizes of a sheet, and methods that draw its parts at full width.

    Args:
        strips: All strips of the sheet.
    """

    def __init__(self, strips: Sequence[Strip]) -> None:
        most = max((len(strip.frames) for strip in strips), default=1)
        side = max((max(strip.frames.shape[1:3]) for strip in strips), default=_MIN_TILE_PX)
        room = _MAX_WIDTH_PX - 2 * _MARGIN_PX - _LABEL_PX
        self._num_columns = min(most, room // (_MIN_TILE_PX + _GAP_PX))
        widest = min(_MAX_TILE_PX, room // self._num_columns - _GAP_PX)
        enlarged = side * -(-_MIN_TILE_PX // side)
        self._tile = min(enlarged, widest)
        used = 2 * _MARGIN_PX + _LABEL_PX + self._num_columns * (self._tile + _GAP_PX)
        self.width = max(used, _MIN_WIDTH_PX)

    def blank(self, height: int) -> Any:
        from PIL import Image

        return Image.new("RGB", (self.width, height), _PAPER)

    def draw_text(self, text: str, size: int, color: tuple[int, int, int]) -> Any:
        from PIL import ImageDraw

        part, font = self.blank(size + 6), _font(size)
        room = self.width - 2 * _MARGIN_PX
        if font.getlength(text) > room:
            while text and font.getlength(f"{text}...") > room:
                text = text[:-1]
            text += "..."
        ImageDraw.Draw(part).text((_MARGIN_PX, 2), text, fill=color, font=font)
        return part

    def draw_numbers(self, numbers: Sequence[int]) -> Any:
        from PIL import ImageDraw

        part, font = self.blank(_TEXT_PX + 4), _font(_TEXT_PX - 1)
        for column, place in enumerate(self._choose(len(numbers))):
            spot = (self._left(column) + self._tile // 2, 1)
            text = str(numbers[place])
            ImageDraw.Draw(part).text(spot, text, fill=_FAINT, font=font, anchor="ma")
        return part

    def draw_strip(self, strip: Strip) -> Any:
        from PIL import Image, ImageDraw

        height, width = strip.frames.shape[1:3]
        scale = self._tile / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        part = self.blank(size[1] + _GAP_PX)
        spot = (_MARGIN_PX, part.height // 2)
        ImageDraw.Draw(part).text(spot, strip.label, fill=_INK, font=_font(_TEXT_PX), anchor="lm")
        for column, place in enumerate(self._choose(len(strip.frames))):
            picture = Image.fromarray(np.ascontiguousarray(strip.frames[place]))
            if picture.size != size:
                is_enlarged = size[0] > picture.width
                method = Image.Resampling.NEAREST if is_enlarged else Image.Resampling.BICUBIC
                picture = picture.resize(size, method)
            part.paste(picture, (self._left(column), 0))
        return part

    def _choose(self, num_frames: int) -> list[int]:
        shown = min(num_frames, self._num_columns)
        return np.linspace(0, num_frames - 1, shown).round().astype(int).tolist()

    def _left(self, column: int) -> int:
        return _MARGIN_PX + _LABEL_PX + column * (self._tile + _GAP_PX)


def _font(size: int) -> Any:
    """Return DejaVu Sans, which covers most scripts and comes with matplotlib."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
