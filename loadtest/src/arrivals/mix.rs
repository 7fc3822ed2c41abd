//! The mix of a plan's tasks: classes with weights, each with its queue, its destination, and its distributions of size,
//! time to live and delay. It says nothing about when they come.

use super::Row;
use crate::{
    dist::{self, Dist},
    draw::Draw,
    quantity::{self, Unclear},
    words::Words,
};

/// The most classes of a mix: the ledger keeps one byte for it.
const CLASSES_MAX: usize = 256;
/// The largest body that a plan may ask for.
const BODY_MAX: f64 = 1_048_576.0;

/// One kind of task.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// The lane.
    pub queue: String,
    /// The executor's name.
    pub to: String,
    /// How often it comes, in relation to the others.
    pub weight: f64,
    /// Bytes of the request's body.
    pub size: Dist,
    /// Time to live in seconds, if it has one.
    pub ttl: Option<Dist>,
    /// How long it is to wait at least, in seconds.
    pub delay: Option<Dist>,
}

/// Classes of tasks; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    classes: Vec<Class>,
    /// The weights, added up.
    sums: Vec<f64>,
}

impl Class {
    /// Of 300 bytes to this queue and executor.
    pub fn new(queue: &str, to: &str) -> Self {
        let size = Dist::Constant(300.0);
        Self { queue: queue.to_owned(), to: to.to_owned(), weight: 1.0, size, ttl: None, delay: None }
    }

    /// Reads words such as `queue=high to=fast weight=3 size=exp:300 ttl=10s delay=uniform:1s,5s`.
    ///
    /// # Errors
    /// Which word is unclear.
    pub fn parse(line: &str) -> Result<Self, Unclear> {
        let mut words = Words::parse(line)?;
        let mut class = Self::new(words.one("queue")?.unwrap_or("load"), words.one("to")?.unwrap_or("main"));
        class.weight = words.read("weight", quantity::number)?.unwrap_or(1.0);
        class.size = words.read("size", |text| Dist::parse(text, quantity::bytes))?.unwrap_or(class.size);
        class.ttl = words.read("ttl", |text| Dist::parse(text, dist::seconds))?;
        class.delay = words.read("delay", |text| Dist::parse(text, dist::seconds))?;
        words.end("queue, to, weight, size, ttl, delay")?;
        Ok(class)
    }
}

impl Mix {
    /// From classes.
    ///
    /// # Errors
    /// When there are none, too many, or all weights are 0.
    pub fn new(classes: Vec<Class>) -> Result<Self, Unclear> {
        if classes.is_empty() || classes.len() > CLASSES_MAX {
            return Err(Unclear::new(format!("1 to {CLASSES_MAX} classes"), classes.len().to_string()));
        }
        let sums = classes.iter().scan(0.0, |sum, class| {
            *sum += class.weight;
            Some(*sum)
        });
        let sums = sums.collect::<Vec<_>>();
        if sums.last().is_none_or(|sum| *sum <= 0.0) {
            return Err(Unclear::new("a weight above 0", "weight=0"));
        }
        Ok(Self { classes, sums })
    }

    /// The classes.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The queues, each once, in the order of the classes.
    pub fn queues(&self) -> Vec<&str> {
        let mut queues = Vec::new();
        for class in &self.classes {
            if !queues.contains(&&*class.queue) {
                queues.push(&class.queue);
            }
        }
        queues
    }

    /// The class of a task.
    pub(super) fn pick(&self, draw: Draw, row: Option<&Row>) -> u8 {
        let of_queue = |queue: &str| self.classes.iter().position(|class| class.queue == queue);
        let index = row.and_then(|row| of_queue(row.queue.as_deref()?)).unwrap_or_else(|| {
            let sum = self.sums.last().expect("a mix has a class");
            let place = draw.unit() * sum;
            self.sums.partition_point(|sum| *sum <= place).min(self.classes.len() - 1)
        });
        u8::try_from(index).expect("at most 256 classes")
    }
}

/// Bytes of a body, held within what a queue takes.
pub(super) fn size_of(class: &Class, draw: Draw) -> u32 {
    class.size.sample(draw).clamp(0.0, BODY_MAX) as u32
}
