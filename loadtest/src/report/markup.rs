//! Markup as a tree: whatever is put into it comes out escaped, and every number finite, so that no page can be broken by
//! what it shows. It knows no HTML and no SVG beyond which elements stand empty.

use std::fmt::Write as _;

/// Elements that HTML never closes.
const VOID: [&str; 2] = ["meta", "br"];

/// An element.
#[derive(Debug, Clone)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Element(Element),
    Text(String),
    /// Text of ours that must not be escaped: a style sheet.
    Raw(&'static str),
}

/// An element without anything in it.
pub(super) fn el(name: &'static str) -> Element {
    Element { name, attributes: Vec::new(), children: Vec::new() }
}

impl Element {
    /// With an attribute.
    pub(super) fn attr(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// With a class.
    pub(super) fn class(self, class: &'static str) -> Self {
        self.attr("class", class)
    }

    /// With a number as attribute, two digits after the point. One that is not finite is left out: it has no place.
    pub(super) fn num(self, name: &'static str, value: f64) -> Self {
        if value.is_finite() { self.attr(name, number(value)) } else { self }
    }

    /// With text in it.
    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.children.push(Node::Text(text.into()));
        self
    }

    /// With an element in it.
    pub(super) fn child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// With elements in it.
    pub(super) fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children.into_iter().map(Node::Element));
        self
    }

    /// With a style sheet in it.
    pub(super) fn raw(mut self, text: &'static str) -> Self {
        self.children.push(Node::Raw(text));
        self
    }

    /// As text.
    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(self.name);
        for (name, value) in &self.attributes {
            write!(out, " {name}=\"").expect("a string takes everything");
            escape(out, value);
            out.push('"');
        }
        if VOID.contains(&self.name) {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(out),
                Node::Text(text) => escape(out, text),
                Node::Raw(text) => out.push_str(text),
            }
        }
        write!(out, "</{}>", self.name).expect("a string takes everything");
    }
}

/// Two digits after the point at most, without zeros at the end.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Characters that XML has no way to write become the replacement character.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_numbers_are_finite() {
        let element = el("p").attr("title", "a\"b<c").num("x", f64::NAN).num("y", -0.001).num("z", 1.5);
        let text = element.text("<script>&\0").child(el("br")).render();
        assert_eq!(text, "<p title=\"a&quot;b&lt;c\" y=\"0\" z=\"1.5\">&lt;script&gt;&amp;\u{fffd}<br/></p>");
    }
}
