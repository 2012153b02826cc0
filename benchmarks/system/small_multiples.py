"""Pictures of many small panels in rows and columns, both axes logarithmic, as SVG."""
import math

WIDTH, HEIGHT, GAP, LEFT, TOP = 200, 170, 24, 60, 60   # of a panel, between panels, and around them


class SmallMultiples:
    """Panels [row][column], all with the same axes.

    title       above all of it
    colors      of the series, by name, in the order of the legend
    panels      texts within the panels, [row][column]
    xs, ys      all numbers that will be drawn: they give the axes
    x_ticks     (number, text) below the last row
    y_unit      behind the powers of ten on the left
    """

    def __init__(self, title, colors, panels, xs, ys, x_ticks, y_unit=""):
        self._colors = colors
        self._low_x, self._high_x = min(xs), max(xs)
        self._low, self._high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
        rows, columns = len(panels), max(len(row) for row in panels)
        width = max(LEFT + columns * (WIDTH + GAP), LEFT + 120 * len(colors), LEFT + 7 * len(title))
        height = TOP + rows * (HEIGHT + GAP) + 40
        self._parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
                       f'font-size="11">', f'<rect width="{width}" height="{height}" fill="white"/>',
                       f'<text x="{LEFT}" y="18" font-size="14">{title}</text>']
        x = LEFT
        for name, color in colors.items():
            self._parts.append(f'<line x1="{x}" x2="{x + 18}" y1="34" y2="34" stroke="{color}" stroke-width="3"/>'
                               f'<text x="{x + 23}" y="38">{name}</text>')
            x += 120
        for row, texts in enumerate(panels):
            for column, text in enumerate(texts):
                self._panel(row, column, text, y_unit if column == 0 else None, x_ticks if row == rows - 1 else [])

    def _panel(self, row, column, text, y_unit, x_ticks):
        x0, y0 = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP)
        self._parts.append(f'<rect x="{x0}" y="{y0}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
                           f'<text x="{x0 + 6}" y="{y0 + 14}">{text}</text>')
        for power in range(self._low, self._high + 1):
            y = self._y(row, 10 ** power)
            self._parts.append(f'<line x1="{x0}" x2="{x0 + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            if y_unit is not None:
                shown = f"{10 ** power:g}" if power < 4 else f"10<tspan dy=\"-4\" font-size=\"8\">{power}</tspan>"
                self._parts.append(f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}{y_unit}</text>')
        for number, name in x_ticks:
            self._parts.append(f'<text x="{self._x(column, number):.1f}" y="{y0 + HEIGHT + 15}" text-anchor="middle">{name}</text>')

    def _x(self, column, number):
        span = math.log(self._high_x / self._low_x) if self._high_x > self._low_x else 0
        share = math.log(number / self._low_x) / span if span else 0.5
        return LEFT + column * (WIDTH + GAP) + 12 + share * (WIDTH - 24)

    def _y(self, row, number):
        share = (math.log10(number) - self._low) / max(1, self._high - self._low)
        return TOP + row * (HEIGHT + GAP) + HEIGHT - share * HEIGHT

    def line(self, row, column, series, points, dashed=False):
        """Points (x, y) of a series, joined."""
        path = " ".join(f"{self._x(column, x):.1f},{self._y(row, y):.1f}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{self._colors[series]}" '
                           f'stroke-width="{1.2 if dashed else 2}"{dashes}/>')

    def ring(self, row, column, x, y):
        self._parts.append(f'<circle cx="{self._x(column, x):.1f}" cy="{self._y(row, y):.1f}" r="5" fill="none" stroke="#222"/>')

    def svg(self):
        return "\n".join(self._parts) + "\n</svg>\n"
