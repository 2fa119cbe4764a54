//! The charts, as SVG. Colours and dashes differ, so that they are told apart in black and white, too.

use kuva::backend::svg::SvgBackend;
use kuva::plot::{BarPlot, ColorMap, ForestPlot, Heatmap, LinePlot, LineStyle, ScatterPlot};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use std::sync::Arc;

/// Okabe and Ito's colours (2008), told apart by all kinds of eyes.
const COLOURS: [&str; 7] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444"];

/// The report's font, in print and on screens.
pub(crate) const FONT: &str = "Noto Sans TC";

fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

fn dash(i: usize) -> LineStyle {
    [LineStyle::Solid, LineStyle::Dashed, LineStyle::Dotted, LineStyle::DashDot][i % 4].clone()
}

fn drawn(plots: Vec<Plot>, change: impl FnOnce(Layout) -> Layout) -> String {
    let layout =
        Layout::auto_from_plots(&plots).with_font_family(FONT).with_width(620.0).with_height(340.0);
    SvgBackend.render_scene(&render_multiple(plots, change(layout)))
}

/// One line of a chart: points (x, y, spread of y; 0 for none).
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64, f64)>,
}

/// Lines with marks and error bars.
pub(crate) fn lines(x: &str, y: &str, series: &[Series]) -> String {
    let mut plots = Vec::new();
    for (i, s) in series.iter().enumerate() {
        let points: Vec<(f64, f64)> = s.points.iter().map(|p| (p.0, p.1)).collect();
        plots.push(Plot::Line(
            LinePlot::new()
                .with_data(points.clone())
                .with_color(colour(i))
                .with_stroke_width(1.8)
                .with_line_style(dash(i))
                .with_legend(&s.name),
        ));
        let marks = ScatterPlot::new().with_data(points).with_color(colour(i)).with_size(3.0);
        let marks = if s.points.iter().any(|p| p.2 > 0.0) {
            marks.with_y_err(s.points.iter().map(|p| p.2).collect::<Vec<_>>())
        } else {
            marks
        };
        if s.points.len() <= 30 {
            plots.push(Plot::Scatter(marks));
        }
    }
    drawn(plots, |l| l.with_x_label(x).with_y_label(y))
}

/// Rows of (name, value, low, high).
pub(crate) fn intervals(x: &str, rows: &[(String, f64, f64, f64)]) -> String {
    let mut forest = ForestPlot::new().with_show_null_line(false).with_marker_size(5.0);
    for (i, (name, value, low, high)) in rows.iter().enumerate() {
        forest = forest.with_colored_row(name, *value, *low, *high, colour(i));
    }
    let height = 100.0 + 28.0 * rows.len() as f64;
    // Accuracies lie close together, far from 0: the axis begins and ends at the tens about them.
    let least = rows.iter().map(|r| r.2).fold(f64::MAX, f64::min);
    let most = rows.iter().map(|r| r.3).fold(f64::MIN, f64::max);
    let (from, to) = ((least / 5.0).floor() * 5.0, (most / 5.0).ceil() * 5.0);
    drawn(vec![Plot::Forest(forest)], |l| {
        l.with_x_label(x).with_height(height).with_x_axis_min(from).with_x_axis_max(to)
    })
}

/// So light at its darkest that black numbers can be read on it.
fn white_to_blue() -> ColorMap {
    let channel = |t: f64, dark: f64| (255.0 + (dark - 255.0) * t.sqrt()).round() as u8;
    ColorMap::Custom(Arc::new(move |t: f64| {
        let t = t.clamp(0.0, 1.0);
        format!("rgb({},{},{})", channel(t, 104.0), channel(t, 174.0), channel(t, 232.0))
    }))
}

/// A square of counts, the first row on top.
pub(crate) fn matrix(x: &str, y: &str, names: &[String], values: &[Vec<f64>]) -> String {
    let rows: Vec<Vec<f64>> = values.iter().rev().cloned().collect();
    let heatmap = Heatmap::new().with_data(rows).with_color_map(white_to_blue()).with_values();
    let svg = drawn(vec![Plot::Heatmap(heatmap)], |l| {
        l.with_x_label(x)
            .with_y_label(y)
            .with_x_categories(names.to_vec())
            .with_y_categories(names.iter().rev().cloned().collect())
            .with_x_tick_rotate(-45.0)
            .with_width(620.0)
            .with_height(500.0)
    });
    // The library writes every value with two decimals; these are counts.
    svg.replace(".00</text>", "</text>")
}

/// Horizontal bars of (name, value).
pub(crate) fn bars(x: &str, rows: &[(String, f64)]) -> String {
    let bars = rows.iter().rev().map(|(n, v)| (n.clone(), *v, COLOURS[0])).collect::<Vec<_>>();
    let bar = BarPlot::new().with_colored_bars(bars).with_horizontal(true);
    let height = 90.0 + 18.0 * rows.len() as f64;
    drawn(vec![Plot::Bar(bar)], |l| l.with_x_label(x).with_height(height).with_tick_size(10))
}
