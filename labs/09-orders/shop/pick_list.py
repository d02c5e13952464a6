"""The warehouse's printer: an order as a PDF, in a folder that stands for the tray."""

import os
from collections import Counter
from datetime import datetime
from pathlib import Path

import ziafont
from fpdf import FPDF

from shop.order import Order

FONT = Path(ziafont.__file__).parent / "fonts" / "DejaVuSans.ttf"  # PDF's own have only Latin-1
A5 = (148, 210)  # millimetres
# For characters that the font lacks; the warehouse needs the number only.
MISSING = "\N{REPLACEMENT CHARACTER}"


def print_pick_list(order: Order, folder: Path) -> str:
    """Put an order's pick list into the folder; return a line about it.

    The file is named after the order, so printing it twice leaves one file. It gets that name when
    it is complete: nobody ever sees half a list.
    """
    file = folder / f"{order.number}.pdf"
    there = file.exists()
    part = folder / f".{order.number}.{os.getpid()}.part"
    with part.open("wb") as paper:
        paper.write(render(order))
        paper.flush()
        os.fsync(paper.fileno())
    part.replace(file)
    return f"printed once more, to the same {file}" if there else f"printed to {file}"


def render(order: Order) -> bytes:
    """Return the PDF, the same bytes for the same order."""
    pdf = FPDF(format=A5)
    pdf.set_creation_date(datetime.fromisoformat(order.placed))
    pdf.set_title(f"Order {order.number}")
    pdf.add_font("DejaVu", fname=FONT)
    pdf.add_page()
    pdf.set_font("DejaVu", size=24)
    pdf.cell(text=f"Order {order.number}", new_x="LMARGIN", new_y="NEXT")
    known = pdf.current_font.cmap
    pdf.set_font_size(14)
    name = "".join(char if ord(char) in known else MISSING for char in order.customer_name)
    pdf.multi_cell(0, text=f"for {name}", new_x="LMARGIN", new_y="NEXT")
    pdf.ln()
    for product, pieces in sorted(Counter(order.product_ids).items()):
        pdf.cell(text=f"[  ]   {pieces} \N{MULTIPLICATION SIGN} product {product}")
        pdf.ln()
    return bytes(pdf.output())
