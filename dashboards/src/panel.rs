//! One panel: what it asks, how it looks, and what it teaches. Where it stands is the board's to say.

use crate::board::source;
use serde_json::{Value, json};

/// A panel.
#[derive(Debug, Clone)]
pub struct Panel {
    look: Look,
    title: &'static str,
    description: String,
    unit: &'static str,
    targets: Vec<Target>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    max: Option<f64>,
    steps: Vec<(f64, &'static str)>,
    mappings: Vec<(&'static str, &'static str, &'static str)>,
    links: Vec<(&'static str, &'static str)>,
    stacked: bool,
    signed: bool,
    colors: Vec<(&'static str, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Stat,
    Lines,
    Heatmap,
    States,
}

#[derive(Debug, Clone)]
struct Target {
    expr: String,
    legend: String,
    exemplar: bool,
}

/// What everybody should know of a panel.
#[derive(Debug, Clone, Copy)]
pub struct Teach {
    /// What it shows.
    pub shows: &'static str,
    /// What is well.
    pub healthy: &'static str,
    /// What to do if it is not.
    pub act: &'static str,
}

impl Panel {
    /// One number.
    pub fn stat(title: &'static str, unit: &'static str, teach: Teach) -> Self {
        Self::new(Look::Stat, title, unit, teach).size(4, 5)
    }

    /// Lines over time.
    pub fn lines(title: &'static str, unit: &'static str, teach: Teach) -> Self {
        Self::new(Look::Lines, title, unit, teach)
    }

    /// A histogram over time.
    pub fn heatmap(title: &'static str, unit: &'static str, teach: Teach) -> Self {
        Self::new(Look::Heatmap, title, unit, teach)
    }

    /// States over time.
    pub fn states(title: &'static str, teach: Teach) -> Self {
        Self::new(Look::States, title, "none", teach)
    }

    fn new(look: Look, title: &'static str, unit: &'static str, teach: Teach) -> Self {
        let description =
            format!("**Shows** {}\n\n**Healthy** {}\n\n**If not** {}", teach.shows, teach.healthy, teach.act);
        Self {
            look,
            title,
            description,
            unit,
            targets: Vec::new(),
            width: 8,
            height: 8,
            max: None,
            steps: vec![(f64::NEG_INFINITY, if look == Look::Stat { "blue" } else { "green" })],
            mappings: Vec::new(),
            links: Vec::new(),
            stacked: false,
            signed: false,
            colors: Vec::new(),
        }
    }

    /// With a query.
    #[must_use]
    pub fn query(mut self, legend: &str, expr: impl Into<String>) -> Self {
        self.targets.push(Target { expr: expr.into(), legend: legend.to_owned(), exemplar: false });
        self
    }

    /// With a query of a histogram, whose buckets may hold examples.
    #[must_use]
    pub fn exemplars(mut self, legend: &str, expr: impl Into<String>) -> Self {
        self.targets.push(Target { expr: expr.into(), legend: legend.to_owned(), exemplar: true });
        self
    }

    /// So large, of 24 columns.
    #[must_use]
    pub fn size(self, width: u32, height: u32) -> Self {
        Self { width, height, ..self }
    }

    /// As a share of 1.
    #[must_use]
    pub fn share(self) -> Self {
        Self { max: Some(1.0), ..self }
    }

    /// Areas on top of each other.
    #[must_use]
    pub fn stacked(self) -> Self {
        Self { stacked: true, ..self }
    }

    /// Series that always have the same colour, by name.
    #[must_use]
    pub fn colors(self, colors: &[(&'static str, &'static str)]) -> Self {
        Self { colors: colors.to_vec(), ..self }
    }

    /// Below 0, too.
    #[must_use]
    pub fn signed(self) -> Self {
        Self { signed: true, ..self }
    }

    /// Green below the first, orange up to the second, red from there.
    #[must_use]
    pub fn worse_above(self, orange: f64, red: f64) -> Self {
        Self { steps: vec![(f64::NEG_INFINITY, "green"), (orange, "orange"), (red, "red")], ..self }
    }

    /// Red below the first, orange up to the second, green from there.
    #[must_use]
    pub fn worse_below(self, orange: f64, green: f64) -> Self {
        Self { steps: vec![(f64::NEG_INFINITY, "red"), (orange, "orange"), (green, "green")], ..self }
    }

    /// Words and colours for values.
    #[must_use]
    pub fn means(self, mappings: &[(&'static str, &'static str, &'static str)]) -> Self {
        Self { mappings: mappings.to_vec(), ..self }
    }

    /// A link from each series to the board of its queue.
    #[must_use]
    pub fn to_queue(mut self) -> Self {
        self.links.push((
            "Queue ${__field.labels.queue}",
            "/d/quebert-queue?${datasource:queryparam}&${job:queryparam}&${instance:queryparam}\
             &var-queue=${__field.labels.queue}&${__url_time_range}",
        ));
        self
    }

    /// A link from each series to the board of its destination.
    #[must_use]
    pub fn to_destination(mut self) -> Self {
        self.links.push((
            "Destination ${__field.labels.destination}",
            "/d/quebert-destination?${datasource:queryparam}&${job:queryparam}&${instance:queryparam}\
             &var-destination=${__field.labels.destination}&${__url_time_range}",
        ));
        self
    }

    pub(crate) fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let targets = self.targets.iter().enumerate().map(|(n, target)| target.json(n, self.look));
        let mut panel = json!({
            "id": id,
            "type": self.look.name(),
            "title": self.title,
            "description": self.description,
            "datasource": source(),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.options(),
            "targets": targets.collect::<Vec<_>>(),
        });
        if self.look == Look::Heatmap {
            panel["fieldConfig"]["defaults"] =
                json!({"unit": self.unit, "custom": {"scaleDistribution": {"type": "linear"}}});
        }
        panel
    }

    fn defaults(&self) -> Value {
        let steps = self.steps.iter().map(|(value, color)| {
            let value = if value.is_finite() { json!(value) } else { Value::Null };
            json!({"value": value, "color": color})
        });
        let options = self.mappings.iter().enumerate().map(|(index, (value, text, color))| {
            ((*value).to_owned(), json!({"text": text, "color": color, "index": index}))
        });
        let options = options.collect::<serde_json::Map<_, _>>();
        let mappings = if options.is_empty() { json!([]) } else { json!([{"type": "value", "options": options}]) };
        let links = self.links.iter().map(|(title, url)| json!({"title": title, "url": url, "targetBlank": false}));
        let mut defaults = json!({
            "unit": self.unit,
            "mappings": mappings,
            "links": links.collect::<Vec<_>>(),
            "thresholds": {"mode": "absolute", "steps": steps.collect::<Vec<_>>()},
            "color": {"mode": if self.look == Look::Lines { "palette-classic" } else { "thresholds" }},
            "custom": self.custom(),
        });
        if !self.signed {
            defaults["min"] = json!(0);
        }
        if let Some(max) = self.max {
            defaults["max"] = json!(max);
        }
        if self.look == Look::Stat {
            defaults.as_object_mut().expect("it is one").remove("custom");
        }
        defaults
    }

    fn overrides(&self) -> Vec<Value> {
        let fixed = |&(name, color): &(&str, &str)| {
            json!({
                "matcher": {"id": "byName", "options": name},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
            })
        };
        self.colors.iter().map(fixed).collect()
    }

    fn custom(&self) -> Value {
        if self.look == Look::States {
            return json!({"fillOpacity": 80, "lineWidth": 0});
        }
        let mode = if self.stacked { "normal" } else { "none" };
        json!({
            "drawStyle": "line",
            "lineInterpolation": "linear",
            // The edges of a dozen empty areas would lie on each other as one thick line.
            "lineWidth": if self.stacked { 0 } else { 1 },
            "fillOpacity": if self.stacked { 60 } else { 0 },
            "showPoints": "never",
            "spanNulls": false,
            "stacking": {"mode": mode, "group": "A"},
            "thresholdsStyle": {"mode": if self.steps.len() > 1 { "dashed" } else { "off" }},
        })
    }

    /// Beside the lines where there is room, what matters most at first. Below them a table would show two rows, and a list
    /// shows a dozen names.
    fn legend(&self) -> Value {
        if self.width < WIDE {
            return json!({"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []});
        }
        json!({
            "displayMode": "table", "placement": "right", "showLegend": true, "calcs": ["lastNotNull", "max"],
            "sortBy": "Max", "sortDesc": true,
        })
    }

    fn options(&self) -> Value {
        match self.look {
            Look::Stat => json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                "colorMode": "value",
                "graphMode": "area",
                "justifyMode": "auto",
                "orientation": "auto",
                "textMode": "auto",
                "wideLayout": true,
            }),
            Look::Lines => json!({"legend": self.legend(), "tooltip": {"mode": "multi", "sort": "desc"}}),
            Look::States => json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
                "tooltip": {"mode": "single", "sort": "none"},
                "showValue": "auto",
                "mergeValues": true,
                "rowHeight": 0.8,
                "alignValue": "left",
            }),
            Look::Heatmap => json!({
                "calculate": false,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": false},
                "exemplars": {"color": "rgba(50,120,255,0.8)"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": true},
                "rowsFrame": {"layout": "auto"},
                "showValue": "never",
                "tooltip": {"mode": "single", "yHistogram": true, "showColorScale": false},
                "yAxis": {"axisPlacement": "left", "reverse": false, "unit": self.unit},
            }),
        }
    }
}

impl Target {
    fn json(&self, n: usize, look: Look) -> Value {
        let letter = char::from(b'A' + u8::try_from(n).expect("few queries a panel"));
        json!({
            "refId": letter.to_string(),
            "datasource": source(),
            "expr": self.expr,
            "legendFormat": self.legend,
            "editorMode": "code",
            "range": true,
            "instant": false,
            "exemplar": self.exemplar,
            "format": if look == Look::Heatmap { "heatmap" } else { "time_series" },
        })
    }
}

impl Look {
    fn name(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Lines => "timeseries",
            Self::Heatmap => "heatmap",
            Self::States => "state-timeline",
        }
    }
}

/// Columns from which a legend has room beside its lines.
const WIDE: u32 = 12;
