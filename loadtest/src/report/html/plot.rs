//! A plot: a frame with axes and grid, and what is drawn in it. It knows places and classes, and nothing of load tests; what
//! the classes look like stands in `page.css`.

use super::{
    super::markup::{Element, el, number},
    axis::Axis,
};

/// Places of a plot's inside, in pixels of its own.
pub(super) const LEFT: f64 = 68.0;
pub(super) const RIGHT: f64 = 984.0;
const WIDTH: f64 = 1000.0;
/// Room for the names of phases and the numbers of faults.
pub(super) const TOP: f64 = 20.0;
const BELOW: f64 = 24.0;
/// About the width of a letter of the plot's text, for names that must fit.
const LETTER: f64 = 6.4;

/// The places of an x axis.
pub(super) const ACROSS: (f64, f64) = (LEFT, RIGHT);

/// The places of a y axis in a plot whose inside is this high.
pub(super) fn upwards(height: f64) -> (f64, f64) {
    (TOP + height, TOP)
}

/// A plot.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) x: Axis,
    pub(super) y: Axis,
    height: f64,
    label: String,
    /// Behind the grid.
    back: Vec<Element>,
    grid: Vec<Element>,
    front: Vec<Element>,
}

impl Plot {
    /// With both axes, for a place `height` high. `label` is for those who can't see it.
    pub(super) fn new(label: impl Into<String>, height: f64, x: Axis, y: Axis) -> Self {
        Self { x, y, height, label: label.into(), back: Vec::new(), grid: Vec::new(), front: Vec::new() }
    }

    /// The lower end of the inside.
    pub(super) fn bottom(&self) -> f64 {
        TOP + self.height
    }

    /// Names the ticks of the y axis.
    #[must_use]
    pub(super) fn y_ticks(mut self, name: impl Fn(f64) -> String) -> Self {
        for tick in self.y.ticks() {
            let y = self.y.at(tick);
            self.grid.push(line((LEFT, y), (RIGHT, y), "grid"));
            self.grid.push(text((LEFT - 8.0, y + 4.0), "end", name(tick)));
        }
        self
    }

    /// Names the ticks of the x axis.
    #[must_use]
    pub(super) fn x_ticks(mut self, ticks: &[(f64, String)]) -> Self {
        for (value, name) in ticks {
            let x = self.x.at(*value);
            self.grid.push(line((x, TOP), (x, self.bottom()), "grid"));
            // A name at the right end stays within the plot.
            let (place, anchor) = if x > RIGHT - 20.0 { (RIGHT, "end") } else { (x, "middle") };
            self.grid.push(text((place, self.bottom() + 17.0), anchor, name.clone()));
        }
        self
    }

    /// Puts something before everything so far.
    pub(super) fn add(&mut self, element: Element) {
        self.front.push(element);
    }

    /// Puts something behind the grid.
    pub(super) fn add_behind(&mut self, element: Element) {
        self.back.push(element);
    }

    /// A line through points; where there is no value, it is interrupted.
    pub(super) fn line(&mut self, points: impl IntoIterator<Item = (f64, Option<f64>)>, class: &str) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            if let Some(y) = y {
                let pen = if pen_down { 'L' } else { 'M' };
                path.push_str(&format!("{pen}{} {}", number(self.x.at(x)), number(self.y.at(y))));
            }
            pen_down = y.is_some();
        }
        if !path.is_empty() {
            self.add(el("path").attr("class", class).attr("d", path));
        }
    }

    /// The area between a line and 0.
    pub(super) fn area(&mut self, points: &[(f64, f64)], class: &'static str) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let zero = number(self.y.at(0.0));
        let mut path = format!("M{} {zero}", number(self.x.at(first.0)));
        for (x, y) in points {
            path.push_str(&format!("L{} {}", number(self.x.at(*x)), number(self.y.at(*y))));
        }
        path.push_str(&format!("L{} {zero}Z", number(self.x.at(last.0))));
        self.add_behind(el("path").class(class).attr("d", path));
    }

    /// The area between two lines, each x with its lower and its upper value.
    pub(super) fn band(&mut self, points: &[(f64, f64, f64)], class: &'static str) {
        let place = |x: f64, y: f64| format!("{} {}", number(self.x.at(x)), number(self.y.at(y)));
        let there = points.iter().map(|(x, low, _)| place(*x, *low));
        let back = points.iter().rev().map(|(x, _, high)| place(*x, *high));
        let path = there.chain(back).collect::<Vec<_>>().join("L");
        if !path.is_empty() {
            self.add_behind(el("path").class(class).attr("d", format!("M{path}Z")));
        }
    }

    /// A horizontal line over the whole plot, with its name above it.
    pub(super) fn level(&mut self, value: f64, name: &str, class: &'static str) {
        let y = self.y.at(value);
        let below = y < TOP + 16.0;
        self.add(line((LEFT, y), (RIGHT, y), class));
        let at = (RIGHT - 6.0, if below { y + 14.0 } else { y - 5.0 });
        self.add(text(at, "end", name).class("name"));
    }

    /// What is told of a strip from one x to another when somebody points at it.
    pub(super) fn tell(&mut self, from: f64, until: f64, told: String) {
        let (left, right) = (self.x.at(from), self.x.at(until));
        let strip = rect((left, TOP), (right, self.bottom()), "strip");
        self.add(strip.child(el("title").text(told)));
    }

    /// The drawing.
    pub(super) fn draw(self) -> Element {
        let height = self.bottom() + BELOW;
        let frame = line((LEFT, self.bottom()), (RIGHT, self.bottom()), "axis");
        el("svg")
            .attr("viewBox", format!("0 0 {} {}", number(WIDTH), number(height)))
            .attr("role", "img")
            .attr("aria-label", self.label)
            .children(self.back)
            .children(self.grid)
            .child(frame)
            .children(self.front)
    }
}

/// A line.
pub(super) fn line(from: (f64, f64), until: (f64, f64), class: &'static str) -> Element {
    let line = el("line").class(class).num("x1", from.0).num("y1", from.1);
    line.num("x2", until.0).num("y2", until.1)
}

/// A rectangle between two corners.
pub(super) fn rect(from: (f64, f64), until: (f64, f64), class: &'static str) -> Element {
    let rect = el("rect").class(class).num("x", from.0).num("y", from.1);
    rect.num("width", (until.0 - from.0).max(0.0)).num("height", (until.1 - from.1).max(0.0))
}

/// A text; `anchor` is the end that stands at the place.
pub(super) fn text(at: (f64, f64), anchor: &'static str, text: impl Into<String>) -> Element {
    el("text").num("x", at.0).num("y", at.1).attr("text-anchor", anchor).text(text)
}

/// As much of a name as has room in so many pixels; nothing if that is less than three letters.
pub(super) fn fitting(name: &str, room: f64) -> Option<String> {
    let letters = (room / LETTER) as usize;
    if name.chars().count() <= letters {
        return Some(name.to_owned());
    }
    (letters >= 4).then(|| name.chars().take(letters - 1).chain(['…']).collect())
}
