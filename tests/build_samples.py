"""Write the sample resumes that are not plain text, one PDF and two DOCX files, from the words below.

Run `python -m tests.build_samples` in the root of the repository after changing them. The PDF is written by hand, with
fonts that every reader has, so that no other library is needed; its bytes are the same on every machine.
"""

from __future__ import annotations

import io
import itertools
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import docx

if TYPE_CHECKING:
    from docx.document import Document

RESUMES = Path(__file__).resolve().parents[1] / "agent" / "samples" / "resumes"

DATA_SCIENTIST = """
# Amara Osei-Lindqvist
Data scientist. Gothenburg, Sweden. amara@osei-lindqvist.example, tel. 555 0190

## About
Statistician by training, ten years in industry. I build forecasts which people place orders by, and I
design the experiments that show whether the orders got better. I care about intervals more than about
points, about the buyer who has to trust the number, and about the cost of being wrong in either
direction. At home in Python and SQL; happy to go back to R when the package is better.

## Experience
### Senior Data Scientist, Kronkvist Apotek (pharmacy chain, 188 shops), 2020 to present
- Own the demand forecast for 9,400 over-the-counter articles by shop and day. LightGBM with hierarchical
  reconciliation replaced moving averages kept in spreadsheets: out-of-stock days down 31%, write-offs
  down 18% in the first year.
- Built the probabilistic layer: quantile forecasts, calibrated each month, from which safety stock is
  derived. Coverage of the 90% interval has stayed between 88% and 92% since 2022.
- Intermittent demand (most articles sell less than twice a week): compared Croston variants,
  zero-inflated models and pooled Bayesian models in PyMC; the pooled model won and is in production.
- Designed 23 shop-level trials of ordering rules and shelf changes: clusters, power analysis,
  difference-in-differences and synthetic control where randomising was not possible. Nine had no effect.
  I said so.
- Price elasticity for 600 short-dated articles, from censored sales; automatic markdowns now recover
  about 4 MSEK a year.
- Weekly clinic with category managers: they bring a forecast they don't believe, we open it together.
- Back-tests and model cards as part of code review; trackable experiments in MLflow; orchestration in
  Airflow; features in dbt on Snowflake, in cooperation with two data engineers.

### Data Scientist, Havsvind Logistik (parcels and groupage freight), 2017 to 2020
- Forecast of parcel volumes per terminal and hour, used for staffing: mean absolute error 9% at two
  weeks, including the black week of November which the former model missed by half.
- Churn and lifetime value for 11,000 business customers, survival models with time-varying covariates.
- A/B tests on the customer portal together with product management; wrote the internal guide on
  sequential testing after we had stopped three tests too early.
- Taught "Statistics for people who decide things", two half days, about 140 colleagues.

### Statistician (graduate programme), Agency for Transport Statistics, Borlänge, 2015 to 2017
- Seasonal adjustment of monthly series (X-13, structural time series), imputation, sampling errors for
  the travel survey. First R package, still maintained there by somebody else.

## Skills
Programming: Python (pandas, polars, scikit-learn, statsmodels, LightGBM, XGBoost, PyMC, matplotlib), SQL
(Snowflake, PostgreSQL, BigQuery), R (fable, lme4, brms), Git, pytest, Docker to the extent needed.

Statistics: time series and demand forecasting, hierarchical reconciliation, probabilistic forecasts,
Bayesian modelling, causal inference, design of experiments, A/B testing, survival analysis, mixed models,
optimisation of stock.

Working tools: dbt, Airflow, MLflow, Jupyter, Power BI for reading rather than for making.

Not my field: computer vision, and running GPU clusters. I have done a course in each and know whom to
ask.

## Education
### M.Sc. Mathematical Statistics, Göteborg Institute for Applied Science, 2015
Thesis: "Forecasting things that mostly do not happen", on intermittent demand for spare parts. Written at
a maker of forestry machines, graded with distinction.

### B.Sc. Mathematics and Economics, University of Cape Adansi, Ghana, 2012
First class; dean's list; teaching assistant in probability for two years.

## One forecast from beginning to end
Sun cream, spring 2024. Buyers ordered by last year's sales, last year had been rainy, and in the first warm
week 140 shops were empty. I took sales of eight years, marked the days on which the shelf had been empty as
censored, added school holidays and the weather forecast (with its own error, not the weather that came
later), and fitted one pooled model for all shops. The back-test used only what had been known on each
morning. The interval was wide and I showed it wide: "between 900 and 2,600 tubes" was more useful than
"1,700", because it led the buyer to ask the supplier for a second delivery on call. Two thirds of the trial
shops stayed in stock on the first warm weekend, against one third of the others; the difference held when
we repeated the trial with insect repellent.

## Talks and writing
- "Your interval is lying": Nordic Forecasting Meetup, 2021. Slides have been borrowed by two
  universities.
- "Nine trials without an effect": Retail Analytics Forum, Malmö, 2023.
- Occasional blog on sales data, most read: "A zero in the sales table is one of four things".

## Languages
English and Twi (first languages), Swedish (C1, meetings and reports), French (school).

## Further
Volunteer analyst for a food bank, where I forecast donations with a sheet of paper and do rather well.
Board member of a housing cooperative. Orienteering, slowly; jollof rice, seriously. Notice period three
months. I'm looking for a position in forecasting or experimentation in retail, groceries or supply chain,
in Sweden or remote from here. References on request.
"""

ICU_NURSE = """
# Rosalind M. Achterberg, BSN, RN, CCRN
Vancouver, Washington. 360-555-0127. r.achterberg@example.com

RN licenses: Washington (multistate compact), Oregon by endorsement in process

## Summary
Critical care nurse with seven years at the bedside, five of them in a mixed medical and surgical ICU.
Steady in a code, thorough on a quiet night, and known for teaching without making anybody feel small. I
am moving across the river to be nearer to my parents and want a night position in an adult ICU with a
high acuity.

## Clinical experience
### Staff Nurse, then Relief Charge Nurse, Medical-Surgical ICU (20 beds), Larkspur Regional Hospital, 2020 to present
- Care for one or two critically ill adults per shift: septic shock, ARDS, post-arrest, GI bleeding, DKA,
  stroke, and recovery after thoracic and vascular surgery.
- Ventilator care including proning, weaning trials and inhaled epoprostenol; arterial and central lines;
  titration of norepinephrine, vasopressin, epinephrine, propofol, dexmedetomidine and insulin drips.
- CRRT superuser since 2022 (Prismax), trained 14 colleagues. IABP competent, two ECMO transfers
  accompanied.
- Relief charge about four shifts a month: assignments, bed flow, rapid response.
- Chaired the delirium project group: CAM-ICU charting from 54% to 91%, restraint days down by a third.
- Precepted nine new graduates; all nine are still in critical care.
- Epic charting with barcode scanning; Epic superuser at go-live.

### Staff Nurse, Progressive Care Unit, Larkspur Regional Hospital, 2018 to 2020
- 1:3 and 1:4 ratios; telemetry, BiPAP, heparin and amiodarone infusions, post-PCI sheaths.
- Floated to COVID ICU for eleven months from spring 2020, which is how I found out where I belong.

### Certified Nursing Assistant, Willow Fork Care Home, 2014 to 2017 (while studying)

## Skills and competencies
| Area | Skill | Level | Since
| Airway and breathing | Mechanical ventilation, proning, weaning, tracheostomy care | independent | 2020
| Circulation | Vasoactive drips, arterial lines, hemodynamic monitoring | independent | 2019
| Renal | CRRT (Prismax), citrate anticoagulation | superuser, trainer | 2022
| Mechanical support | IABP; Impella (class only) | competent | 2023
| Neuro | NIHSS certified, EVD care, targeted temperature | independent | 2021
| Emergency | Code team, rapid response, massive transfusion | team member | 2020
| Communication | Goals-of-care meetings, Spanish (conversational) | independent | 2018

## Licenses and certifications
- CCRN (adult), AACN, since 2021, renewed
- BLS, ACLS (both current), PALS lapsed
- TNCC 2022
- NIHSS, current

## Education
### Bachelor of Science in Nursing, Cascadia Lutheran College, 2017
Magna cum laude. Capstone in the burn unit. Sigma Theta Tau.

## Other
Unit council (practice), two years. Poster on sleep in the ICU at the regional critical care days, 2023.
Volunteer at a summer camp for children with asthma. Available for nights from six weeks after an offer;
weekend shifts are fine.
"""

MARKETING_MANAGER = """
# Noor Haddad-Pryce
Marketing Manager | B2B technology | demand generation

## In short
Eleven years of marketing, nine of them for things that companies sell to other companies: scales, sensors,
and the software behind them. I build the plan, the team and the dashboard, in that order, and I can read
a pipeline report as critically as sales does. Looking for a mid-sized maker of hardware or software in
the Netherlands or Flanders.

## What I've done
### Marketing Manager, Weegland Industrial Scales & Software BV, Breda. Jan 2020 until now
Team of four, budget of 750k euros, markets NL, BE, DE, UK.
- Moved us from fairs and catalogues to a demand engine. Marketing-sourced pipeline went from 9% to 38% of
  the total in three years; cost per opportunity fell by 41%.
- Implemented HubSpot from nothing: lifecycle stages, lead scoring, nurturing in three languages, two-way
  sync with Salesforce. Killed 11 spreadsheets.
- LinkedIn Ads and Google Ads in-house after letting go of an agency. ROAS isn't the whole truth, hence a
  holdout test per quarter.
- SEO: recovered 60% of organic traffic after a relaunch had lost it, and doubled it in the year after.
- Account-based programme for 45 food producers together with sales; 17 became customers.
- Partner marketing kit for 60 resellers, co-funded campaigns.
- Three product launches, positioning included. One flopped; the write-up is now part of our onboarding.
- Hired two, developed one intern into our marketing automation specialist.

### Marketing Specialist, later Campaign Lead, Sensoria Cold Chain, Mechelen. 2016 - 2019
- webinars (24 a year, avg. 130 attendees), e-mail programmes, white papers, case studies
- first marketing automation (Pardot), MQL definition agreed with sales after only four meetings
- trade fairs in Cologne, Lyon, Birmingham - leads in the CRM the same evening
- Budget 180k

### Junior Brand Manager, Van Aerde Biscuits, Lier. 2014 - 2016
Consumer goods: packaging, in-store promotions, a little TV. Taught me briefs, agencies and humility.

## Toolbox
HubSpot (certified: Marketing Software, Reporting), Salesforce, Pardot, Google Analytics 4, Search
Console, Looker Studio, LinkedIn Campaign Manager, Google Ads (certified search), Ahrefs, Webflow, Figma
for comments, Excel incl. pivots, SQL (select, join, no more).

Topics: demand generation, lead nurturing, account-based marketing, attribution, positioning, product
launches, content strategy, marketing budgets, team lead, event marketing, GDPR consent.

## Education
- MSc Communication & Marketing, Hogeschool aan de Nete, 2014
- BA Linguistics (English, Arabic), same place, 2012
- Short course "Leading small teams", 2021

## Languages
Dutch, English (bilingual), Arabic (home), German (B2, I present in it), French (B1)

## Beyond work
Runs the newsletter of a repair cafe (1,900 readers, open rate 61%, my best numbers anywhere). Two
children, one allotment. Available after two months.
"""

Kind = Literal["title", "heading", "entry", "bullet", "row", "text"]
MARKS: dict[str, Kind] = {"#": "title", "##": "heading", "###": "entry", "-": "bullet", "|": "row"}


@dataclass(frozen=True)
class Block:
    """A piece of a resume: what it is and its words, on one line."""

    kind: Kind
    text: str


def parse(source: str) -> list[Block]:
    """Read the markup above: a mark or a blank line starts a block, a line of words alone continues it."""
    blocks: list[Block] = []
    for line in source.strip().splitlines():
        mark, _, rest = line.partition(" ")
        if mark in MARKS:
            blocks.append(Block(MARKS[mark], rest))
        elif blocks and line and blocks[-1].text and blocks[-1].kind in {"bullet", "text"}:
            blocks[-1] = Block(blocks[-1].kind, f"{blocks[-1].text} {line.strip()}")
        else:
            blocks.append(Block("text", line))
    return [block for block in blocks if block.text]


# --- PDF -------------------------------------------------------------------------------------------------------------

PAGE_WIDTH, PAGE_HEIGHT, MARGIN, LEADING = 595, 842, 62, 14  # A4, in points
FONT_AND_SIZE = {
    "title": ("F2", 18.0),
    "heading": ("F2", 12.0),
    "entry": ("F2", 10.0),
    "bullet": ("F1", 10.0),
    "text": ("F1", 10.0),
}
SPACE_ABOVE = {"title": 8, "heading": 12, "entry": 5, "bullet": 1, "text": 3}
BULLET_INDENT = 12

# Of the characters from space to tilde, in thousandths of the font size.
# Source: Adobe's metrics of the 14 standard fonts (Helvetica.afm).
HELVETICA_WIDTHS = """
278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278
556 556 556 556 556 556 556 556 556 556 278 278 584 584 584 556
1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778
667 778 722 667 611 722 667 944 667 667 611 278 278 278 469 556
333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556
556 556 333 500 278 556 500 722 500 500 500 334 260 334 584
"""
WIDTH_OF = dict(zip(map(chr, range(32, 127)), map(int, HELVETICA_WIDTHS.split()), strict=True))


@dataclass(frozen=True)
class Line:
    """One printed line: its words, their font, and how many points it stands below the line before."""

    text: str
    kind: Kind
    drop: int


def width(text: str, size: float) -> float:
    """Measure a text in Helvetica, in points; a letter outside ASCII counts as an average one."""
    return sum(WIDTH_OF.get(letter, 556) for letter in text) * size / 1000


def wrap(text: str, size: float, limit: float) -> list[str]:
    """Break a text between words so that no line is wider than `limit` points."""
    lines: list[str] = []
    for word in text.split():
        if lines and width(f"{lines[-1]} {word}", size) <= limit:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def print_block(block: Block) -> list[Line]:
    """Break one block into printed lines; the first carries the space above the block."""
    _, size = FONT_AND_SIZE[block.kind]
    limit = PAGE_WIDTH - 2 * MARGIN - (BULLET_INDENT if block.kind == "bullet" else 0)
    texts = wrap(block.text, size * (1.08 if block.kind == "entry" else 1), limit)  # bold is about 8 % wider
    above = SPACE_ABOVE[block.kind]
    return [Line(text, block.kind, LEADING + (above if i == 0 else 0)) for i, text in enumerate(texts)]


def paginate(blocks: list[Block]) -> list[list[Line]]:
    """Fill pages from top to bottom; a heading or an entry moves on unless two more lines fit below it."""
    pages: list[list[Line]] = [[]]
    left = PAGE_HEIGHT - 2 * MARGIN
    for line in (line for block in blocks for line in print_block(block)):
        wanted = line.drop + (3 * LEADING if line.kind in {"heading", "entry"} else 0)
        if wanted > left:
            pages.append([])
            left = PAGE_HEIGHT - 2 * MARGIN
        pages[-1].append(line)
        left -= line.drop
    return pages


def show(text: str, font: str, size: float, x: float, y: float) -> bytes:
    """Write the operators that print one line at a place, measured in points from the lower left corner."""
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("cp1252")
    return f"BT /{font} {size:g} Tf 1 0 0 1 {x:g} {y:g} Tm (".encode() + escaped + b") Tj ET\n"


def draw_page(lines: list[Line], footer: str) -> bytes:
    """Write the content stream of one page."""
    stream, y = b"", PAGE_HEIGHT - MARGIN
    previous: Kind = "text"
    for line in lines:
        y -= line.drop
        font, size = FONT_AND_SIZE[line.kind]
        is_bullet = line.kind == "bullet"
        if is_bullet and (previous != "bullet" or line.drop > LEADING):
            stream += show("\N{BULLET}", font, size, MARGIN, y)
        stream += show(line.text, font, size, MARGIN + BULLET_INDENT * is_bullet, y)
        previous = line.kind
    return stream + show(footer, "F1", 8, MARGIN, MARGIN / 2)


def assemble(objects: list[bytes]) -> bytes:
    """Number the objects from 1 and add the header, the cross-reference table and the trailer.

    The first object is the catalogue and the second the information dictionary.

    Source: ISO 32000-1, section 7.5 (file structure).
    """
    body, offsets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    n_entries = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info 2 0 R >>\n" % n_entries
    start = b"startxref\n%d\n%%%%EOF\n" % len(body)
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % n_entries + table + trailer + start


def build_pdf(source: str) -> bytes:
    """Typeset a resume on A4 pages in Helvetica; the same words give the same bytes everywhere."""
    blocks = parse(source)
    pages, name = paginate(blocks), blocks[0].text
    numbers = [6 + 2 * i for i in range(len(pages))]  # each page is followed by its content
    kids = " ".join(f"{number} 0 R" for number in numbers)
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
    objects = [
        b"<< /Type /Catalog /Pages 3 0 R >>",
        f"<< /Title (Resume of {name}) >>".encode("cp1252"),
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        font.format("Helvetica").encode(),
        font.format("Helvetica-Bold").encode(),
    ]
    for number, lines in zip(numbers, pages, strict=True):
        footer = f"{name}, page {(number - 4) // 2} of {len(pages)}"
        stream = draw_page(lines, footer)
        box = f"[0 0 {PAGE_WIDTH} {PAGE_HEIGHT}]"
        fonts = "<< /Font << /F1 4 0 R /F2 5 0 R >> >>"
        content = f"/Contents {number + 1} 0 R"
        objects.append(f"<< /Type /Page /Parent 3 0 R /MediaBox {box} /Resources {fonts} {content} >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%bendstream" % (len(stream), stream))
    return assemble(objects)


# --- DOCX ------------------------------------------------------------------------------------------------------------

DOCX_STYLES = {
    "title": "Title",
    "heading": "Heading 1",
    "entry": "Heading 2",
    "bullet": "List Bullet",
    "text": "Normal",
}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def add_table(document: Document, rows: list[str]) -> None:
    """Add a table at the end of a document; each row holds its cells with bars between them."""
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    table = document.add_table(rows=len(cells), cols=len(cells[0]), style="Table Grid")
    for i, row in enumerate(cells):
        for j, words in enumerate(row):
            table.cell(i, j).text = words


def fill(document: Document, blocks: list[Block]) -> None:
    """Add every block at the end of a document; neighbouring rows become one table."""
    for kind, neighbours in itertools.groupby(blocks, key=lambda block: block.kind):
        texts = [block.text for block in neighbours]
        if kind == "row":
            add_table(document, texts)
        else:
            for text in texts:
                document.add_paragraph(text, style=DOCX_STYLES[kind])


def without_clock(archive: bytes) -> bytes:
    """Copy a ZIP archive with one fixed date in place of the time of writing."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, LONG_AGO.timetuple()[:6]), old.read(name), zipfile.ZIP_DEFLATED)
    return target.getvalue()


def build_docx(source: str, page_footer: str = "") -> bytes:
    """Typeset a resume as a Word document.

    Args:
        source: the words in the markup of this module.
        page_footer: words that stand at the foot of every page, outside the body; none where empty.

    Returns:
        The file. Its text depends on the arguments alone; its bytes also on the version of zlib.
    """
    blocks, document = parse(source), docx.Document()
    fill(document, blocks)
    if page_footer:
        document.sections[0].footer.paragraphs[0].text = page_footer
    properties = document.core_properties
    properties.title, properties.author, properties.comments = f"Resume of {blocks[0].text}", blocks[0].text, ""
    properties.created = properties.modified = LONG_AGO
    file = io.BytesIO()
    document.save(file)
    return without_clock(file.getvalue())


def build_all() -> dict[str, bytes]:
    """Build each file of this module, by the name that it has among the sample resumes."""
    return {
        "data-scientist.pdf": build_pdf(DATA_SCIENTIST),
        "icu-nurse.docx": build_docx(ICU_NURSE),
        "marketing-manager.docx": build_docx(
            MARKETING_MANAGER, page_footer="noor.haddad@example.org | +31 555 0161 82 | Breda, the Netherlands"
        ),
    }


def main() -> None:
    """Write every file into the folder of sample resumes."""
    for name, content in build_all().items():
        (RESUMES / name).write_bytes(content)


if __name__ == "__main__":
    main()
