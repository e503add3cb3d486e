"""Pages of text and pictures of user interfaces, drawn with the fonts inside matplotlib and Pillow."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SIZE = (512, 384)
_WORDS = """
the of and a to in is was that for it with as his on be at by had not are but from or have an they which
one were all their there been if more when will would who so no out up into them can only other time new
some could these two may first then do any like my now over such our man even most made after also did
many before must through years where much way well down should because each just those people state good
how world still own work life both between being under three never know same last another while us off
might great go come since against right came take used himself few house use during without again place
around however home small found thought went say part once general high upon school every does got united
left number course war until always away something fact water though less public put think
""".split()  # noqa: SIM905
_CODE = """
def rate(values, bins):
    \"\"\"Bits per value of an ideal coder.\"\"\"
    counts, _ = histogram(values, bins)
    shares = counts / max(1, counts.sum())
    return -sum(s * log2(s) for s in shares if s)

class Window:
    size = 64

    def __init__(self, left, top, name="w0"):
        self.left, self.top = left, top
        self.name = name  # shown in the title

    def tiles(self):
        for y in range(0, self.top, self.size):
            for x in range(0, self.left, self.size):
                yield x, y, x + self.size, y + 32

if __name__ == "__main__":
    for tile in Window(640, 480).tiles():
        print("%d %d %d %d" % tile)
""".strip("\n").split("\n")


def book(seed: int) -> Image.Image:
    """Two columns of small serif text, black on white."""
    image, draw = _page("#ffffff")
    font, head = _font("DejaVuSerif", 10), _font("DejaVuSerif-Bold", 14)
    draw.text((24, 14), "On the length of messages", "#000000", head)
    for column in range(2):
        left = 24 + 240 * column
        _fill(draw, (left, 42, left + 222, SIZE[1] - 16), _prose(seed + column), font, "#000000")
    return image


def dark_page(seed: int) -> Image.Image:
    """A page of a reader in the dark: sans-serif text, light grey on near black, a heading, a link."""
    image, draw = _page("#16181d")
    draw.text((40, 20), "Notes of the week", "#e8e6e3", _font("DejaVuSans-Bold", 20))
    draw.text((40, 52), "updated 4 hours ago · reply", "#5aa9ff", _font("DejaVuSans", 11))
    box = (40, 80, SIZE[0] - 40, SIZE[1] - 20)
    _fill(draw, box, _prose(seed), _font("DejaVuSans", 13), "#c8c5c0")
    return image


def editor(seed: int) -> Image.Image:
    """A code editor, dark, monospaced, with coloured words, line numbers and a list of files."""
    image, draw = _page("#1e1e1e")
    chooser, font = random.Random(seed), _font("DejaVuSansMono", 11)
    draw.rectangle((0, 0, 110, SIZE[1]), "#252526")
    for row in range(14):
        draw.text(
            (10, 10 + 18 * row), f"{chooser.choice(_WORDS)}_{row}.py", "#9d9d9d", _font("DejaVuSans", 10)
        )
    draw.rectangle((111, 0, SIZE[0], 22), "#2d2d2d")
    draw.text((120, 4), "window.py", "#ffffff", _font("DejaVuSans", 11))
    for number in range((SIZE[1] - 30) // 15):
        top, line = 28 + 15 * number, _CODE[number % len(_CODE)]
        draw.text((138, top), str(number + 1), "#858585", font, anchor="ra")
        _code(draw, (150, top), line, font)
    return image


def form(seed: int) -> Image.Image:
    """A window with fields, buttons, boxes to tick and a bar of progress, light."""
    image, draw = _page("#f3f3f3")
    chooser = random.Random(seed)
    label, small = _font("DejaVuSans", 12), _font("DejaVuSans", 10)
    draw.rectangle((0, 0, SIZE[0], 30), "#ffffff", "#d0d0d0")
    draw.text((12, 8), "Preferences", "#202020", _font("DejaVuSans-Bold", 12))
    for index, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        draw.ellipse((SIZE[0] - 66 + 20 * index, 9, SIZE[0] - 54 + 20 * index, 21), colour)
    for row in range(6):
        top = 46 + 40 * row
        draw.text((16, top + 5), f"{_title(chooser)}:", "#303030", label)
        draw.rounded_rectangle((170, top, 490, top + 26), 5, "#ffffff", "#a8a8a8")
        draw.text((180, top + 6), " ".join(chooser.sample(_WORDS, 5)), "#505050", small)
    for index in range(3):
        left = 16 + 160 * index
        draw.rounded_rectangle(
            (left, 292, left + 14, 306), 3, "#0a66d8" if index != 1 else "#ffffff", "#707070"
        )
        if index != 1:
            draw.line([(left + 3, 299), (left + 6, 303), (left + 11, 295)], "#ffffff", 2)
        draw.text((left + 22, 292), " ".join(chooser.sample(_WORDS, 2)), "#303030", small)
    draw.rounded_rectangle((16, 322, 490, 330), 4, "#d8d8d8")
    draw.rounded_rectangle((16, 322, 310, 330), 4, "#0a66d8")
    for left, fill, ink, word in ((300, "#ffffff", "#202020", "Cancel"), (400, "#0a66d8", "#ffffff", "Save")):
        draw.rounded_rectangle((left, 344, left + 90, 372), 6, fill, "#a0a0a0")
        draw.text((left + 45, 358), word, ink, label, anchor="mm")
    return image


def sheet(seed: int) -> Image.Image:
    """A table of numbers in small type, with rules and shaded heads, light."""
    image, draw = _page("#ffffff")
    chooser, font = random.Random(seed), _font("DejaVuSans", 9)
    widths, height = (88, *[60] * 7), 16
    for row in range(SIZE[1] // height + 1):
        top, left = row * height, 0
        for column, width in enumerate(widths):
            fill = (
                "#e6ecf5" if row == 0 or column == 0 else "#fff3c4" if (row, column) == (7, 3) else "#ffffff"
            )
            draw.rectangle((left, top, left + width, top + height), fill, "#c4c4c4")
            if row == 0 or column == 0:
                draw.text((left + 4, top + 3), _title(chooser)[:12], "#202020", font)
            else:
                number = f"{chooser.uniform(-2000, 9000):,.2f}"
                ink = "#b00020" if number.startswith("-") else "#202020"
                draw.text((left + width - 4, top + 3), number, ink, font, anchor="ra")
            left += width
    return image


def console(seed: int) -> Image.Image:
    """Lines of a terminal in the font inside Pillow, green and white on black."""
    image, draw = _page("#000000")
    chooser, font = random.Random(seed), ImageFont.load_default(11)
    for row in range((SIZE[1] - 8) // 14):
        words = " ".join(chooser.sample(_WORDS, chooser.randint(3, 11)))
        ink = "#4ee44e" if row % 6 == 0 else "#e0e0e0"
        line = f"$ {words}" if row % 6 == 0 else f"{chooser.randrange(10**6):06} {words}"
        draw.text((6, 4 + 14 * row), line, ink, font)
    return image


TEXT: dict[str, Callable[[int], Image.Image]] = {"book": book, "dark_page": dark_page}
SCREENS: dict[str, Callable[[int], Image.Image]] = {
    "console": console,
    "editor": editor,
    "form": form,
    "sheet": sheet,
}


def _page(paper: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", SIZE, paper)
    return image, ImageDraw.Draw(image)


def _font(name: str, size: int) -> "Font":
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")
    # The plain layout: the other one depends on a library that may not be there.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _title(chooser: random.Random) -> str:
    return " ".join(chooser.sample(_WORDS, 2)).capitalize()


def _prose(seed: int) -> list[str]:
    """1,200 words in sentences."""
    chooser = random.Random(seed)
    words: list[str] = []
    while len(words) < 1200:
        sentence = chooser.choices(_WORDS, k=chooser.randint(6, 18))
        words += [sentence[0].capitalize(), *sentence[1:-1], sentence[-1] + chooser.choice(".....?!")]
    return words


def _fill(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], words: list[str], font: "Font", ink: str
) -> None:
    """Set ``words`` into ``box`` (left, top, right, bottom) until it is full."""
    left, top, right, bottom = box
    step = round(1.35 * font.getbbox("Ag")[3])
    line = ""
    for word in words:
        longer = f"{line} {word}".strip()
        if font.getlength(longer) > right - left:
            draw.text((left, top), line, ink, font)
            top, longer = top + step, word
            if top + step > bottom:
                return
        line = longer


def _code(draw: ImageDraw.ImageDraw, at: tuple[int, int], line: str, font: "Font") -> None:
    """One line, word by word in the colours of an editor."""
    x, top = float(at[0]), at[1]
    for part in line.replace("(", " (").split(" "):
        word = part + " "
        bare = part.strip("():,")
        ink = "#d4d4d4"
        if bare in ("def", "class", "return", "for", "in", "if", "yield"):
            ink = "#569cd6"
        elif bare.startswith(('"', "'")):
            ink = "#ce9178"
        elif bare.isdigit():
            ink = "#b5cea8"
        draw.text((x, top), word, ink, font)
        x += font.getlength(word)
