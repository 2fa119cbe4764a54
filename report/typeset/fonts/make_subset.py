"""python fonts/make_subset.py Regular.ttf Bold.ttf: cuts Noto Sans TC down to the letters of this crate's sources,
Latin ones, and a few signs. Needs fonttools. The fonts: SIL Open Font License 1.1, see OFL.txt."""

import sys
from pathlib import Path

from fontTools import subset

here = Path(__file__).parent
letters = set(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x180)])) | set("αβγλτ–—‘’“”…‰−×≤≥±→←•、。，；：「」（）！？％＋")
for source in (here.parent / "src").rglob("*.rs"):
    letters |= {c for c in source.read_text() if ord(c) >= 0x2E80}
for path, name in zip(sys.argv[1:3], ("Regular", "Bold")):
    options = subset.Options(layout_features=["kern", "liga", "tnum"], notdef_outline=True, hinting=False, desubroutinize=True)
    font = subset.load_font(path, options)
    cut = subset.Subsetter(options)
    cut.populate(text="".join(sorted(letters)))
    cut.subset(font)
    out = here / f"NotoSansTC-{name}-subset.ttf"
    subset.save_font(font, out, options)
    print(out.name, out.stat().st_size, "bytes,", len(letters), "letters")
