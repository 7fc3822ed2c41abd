//! What clients and nodes say to each other, and how: frames with a length before them. It knows no queues.

mod code;
mod link;
mod message;

pub(super) use link::Link;

use bytes::{BufMut, BytesMut};
use code::{Reader, Writer};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Depth, Opening, Source, Tag, Target},
};
use quebert_wire::Message;

/// What a connection is for. A session has one of each, as with RabbitMQ: on a connection that the broker has blocked
/// not even acks are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Deliveries, acks, questions.
    Consume,
    /// Publishes and their confirms.
    Publish,
}

/// From a client to a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    /// First of all.
    Hello(Role),
    /// Still there.
    Beat,
    /// Opens a channel with a window and a consumer.
    Open { channel: u64, source: Source, window: u16 },
    /// Cancels a channel's consumer; the channel goes on settling.
    Pause { channel: u64 },
    /// Closes a channel. What is unsettled goes back.
    Close { channel: u64 },
    /// Settles deliveries of a channel, in order.
    Settle { channel: u64, acks: Vec<u64>, returns: Vec<u64> },
    /// Stores a message; `no` counts the connection's publishes. With `from`, in the place of that delivery.
    Publish { no: u64, target: Target, from: Option<Tag>, message: Message },
    /// Makes a delay queue, if it is not there, and lets everybody know.
    Declare { no: u64, step: Step },
    /// How many messages wait.
    Depth { no: u64, target: Target },
    /// Nothing more will come.
    Bye,
}

/// From a node to a client.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tell {
    /// This node leads.
    Welcome,
    /// It does not; that one does, as far as it knows.
    Elsewhere(Option<u8>),
    /// Still there.
    Beat,
    /// A channel's consumer has begun.
    Opened { channel: u64, opening: Opening },
    /// A delivery.
    Deliver { channel: u64, seq: u64, redelivered: bool, message: Message },
    /// A channel is closed, as was asked for.
    Closed { channel: u64 },
    /// The node has closed a channel: AMQP's code, and the words.
    Failed { channel: u64, code: u16, words: String },
    /// The node has cancelled a channel's consumer.
    Cancelled { channel: u64 },
    /// What became of publishes.
    Answers(Vec<(u64, Answer)>),
    /// The node reads no publishes from this connection for now.
    Blocked(bool),
    /// There is a delay queue of this length, since so many milliseconds.
    Delay { step: Step, age_ms: u64 },
    /// A declare is done.
    Declared { no: u64 },
    /// What was asked.
    DepthIs { no: u64, depth: Option<Depth> },
    /// The node closes the connection: AMQP's code, and the words.
    Bye { code: u16, words: String },
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Stored.
    Ack,
    /// Refused.
    Nack,
    /// There is no such queue.
    Returned,
    /// Nobody knows, the broker itself among them.
    Unknown,
}

/// Something that is sent in a frame.
pub(super) trait Frame: Sized {
    /// Appends it.
    fn write(&self, out: &mut BytesMut);
    /// Reads it; `None` if it is none.
    fn read(frame: &mut Reader) -> Option<Self>;

    /// Appends it as a frame.
    fn frame(&self, out: &mut BytesMut) {
        let at = out.len();
        out.put_u32(0);
        self.write(out);
        let length = u32::try_from(out.len() - at - 4).expect("a message of some megabytes at most");
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

impl Frame for Ask {
    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(role) => {
                out.put_u8(0);
                out.put_u8(u8::from(*role == Role::Publish));
            }
            Self::Beat => out.put_u8(1),
            Self::Open { channel, source, window } => {
                out.put_u8(2);
                out.put_u64(*channel);
                out.source(source);
                out.put_u16(*window);
            }
            Self::Pause { channel } => {
                out.put_u8(3);
                out.put_u64(*channel);
            }
            Self::Close { channel } => {
                out.put_u8(4);
                out.put_u64(*channel);
            }
            Self::Settle { channel, acks, returns } => {
                out.put_u8(5);
                out.put_u64(*channel);
                out.numbers(acks);
                out.numbers(returns);
            }
            Self::Publish { no, target, from, message } => {
                out.put_u8(6);
                out.put_u64(*no);
                out.target(target);
                out.maybe(from.as_ref(), |out, tag| {
                    out.put_u64(tag.opening.0);
                    out.put_u64(tag.seq);
                });
                message::write(message, out);
            }
            Self::Declare { no, step } => {
                out.put_u8(7);
                out.put_u64(*no);
                out.put_u64(step.millis());
            }
            Self::Depth { no, target } => {
                out.put_u8(8);
                out.put_u64(*no);
                out.target(target);
            }
            Self::Bye => out.put_u8(9),
        }
    }

    fn read(frame: &mut Reader) -> Option<Self> {
        Some(match frame.u8()? {
            0 => Self::Hello(if frame.bool()? { Role::Publish } else { Role::Consume }),
            1 => Self::Beat,
            2 => Self::Open { channel: frame.u64()?, source: frame.source()?, window: frame.u16()? },
            3 => Self::Pause { channel: frame.u64()? },
            4 => Self::Close { channel: frame.u64()? },
            5 => Self::Settle { channel: frame.u64()?, acks: frame.numbers()?, returns: frame.numbers()? },
            6 => Self::Publish {
                no: frame.u64()?,
                target: frame.target()?,
                from: frame.maybe(|frame| Some(Tag { opening: Opening(frame.u64()?), seq: frame.u64()? }))?,
                message: message::read(frame)?,
            },
            7 => Self::Declare { no: frame.u64()?, step: frame.step()? },
            8 => Self::Depth { no: frame.u64()?, target: frame.target()? },
            9 => Self::Bye,
            _ => return None,
        })
    }
}

impl Frame for Tell {
    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Welcome => out.put_u8(0),
            Self::Elsewhere(node) => {
                out.put_u8(1);
                out.put_u8(node.unwrap_or(0));
            }
            Self::Beat => out.put_u8(2),
            Self::Opened { channel, opening } => {
                out.put_u8(3);
                out.put_u64(*channel);
                out.put_u64(opening.0);
            }
            Self::Deliver { channel, seq, redelivered, message } => {
                out.put_u8(4);
                out.put_u64(*channel);
                out.put_u64(*seq);
                out.put_u8(u8::from(*redelivered));
                message::write(message, out);
            }
            Self::Closed { channel } => {
                out.put_u8(5);
                out.put_u64(*channel);
            }
            Self::Failed { channel, code, words } => {
                out.put_u8(6);
                out.put_u64(*channel);
                out.put_u16(*code);
                out.text(words);
            }
            Self::Cancelled { channel } => {
                out.put_u8(7);
                out.put_u64(*channel);
            }
            Self::Answers(answers) => {
                out.put_u8(8);
                out.put_u32(u32::try_from(answers.len()).expect("few"));
                for (no, answer) in answers {
                    out.put_u64(*no);
                    out.put_u8(*answer as u8);
                }
            }
            Self::Blocked(blocked) => {
                out.put_u8(9);
                out.put_u8(u8::from(*blocked));
            }
            Self::Delay { step, age_ms } => {
                out.put_u8(10);
                out.put_u64(step.millis());
                out.put_u64(*age_ms);
            }
            Self::Declared { no } => {
                out.put_u8(11);
                out.put_u64(*no);
            }
            Self::DepthIs { no, depth } => {
                out.put_u8(12);
                out.put_u64(*no);
                out.maybe(depth.as_ref(), |out, depth| {
                    out.put_u64(depth.ready);
                    out.put_u64(depth.consumers);
                });
            }
            Self::Bye { code, words } => {
                out.put_u8(13);
                out.put_u16(*code);
                out.text(words);
            }
        }
    }

    fn read(frame: &mut Reader) -> Option<Self> {
        Some(match frame.u8()? {
            0 => Self::Welcome,
            1 => Self::Elsewhere(Some(frame.u8()?).filter(|node| *node > 0)),
            2 => Self::Beat,
            3 => Self::Opened { channel: frame.u64()?, opening: Opening(frame.u64()?) },
            4 => Self::Deliver {
                channel: frame.u64()?,
                seq: frame.u64()?,
                redelivered: frame.bool()?,
                message: message::read(frame)?,
            },
            5 => Self::Closed { channel: frame.u64()? },
            6 => Self::Failed { channel: frame.u64()?, code: frame.u16()?, words: frame.text()? },
            7 => Self::Cancelled { channel: frame.u64()? },
            8 => {
                let count = frame.u32()?;
                Self::Answers((0..count).map(|_| Some((frame.u64()?, answer(frame.u8()?)?))).collect::<Option<_>>()?)
            }
            9 => Self::Blocked(frame.bool()?),
            10 => Self::Delay { step: frame.step()?, age_ms: frame.u64()? },
            11 => Self::Declared { no: frame.u64()? },
            12 => Self::DepthIs {
                no: frame.u64()?,
                depth: frame.maybe(|frame| Some(Depth { ready: frame.u64()?, consumers: frame.u64()? }))?,
            },
            13 => Self::Bye { code: frame.u16()?, words: frame.text()? },
            _ => return None,
        })
    }
}

const fn answer(code: u8) -> Option<Answer> {
    Some(match code {
        0 => Answer::Ack,
        1 => Answer::Nack,
        2 => Answer::Returned,
        3 => Answer::Unknown,
        _ => return None,
    })
}

/// All frames of what was sent.
#[cfg(test)]
pub(super) fn read_all(mut sent: BytesMut) -> Vec<Tell> {
    let mut all = Vec::new();
    while let Some(length) = sent.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) {
        let frame = sent.split_to(4 + length).split_off(4).freeze();
        all.push(Tell::read(&mut Reader::new(frame)).expect("what was sent can be read"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use quebert_wire::{HeaderValue, Headers, Timestamp};
    use std::fmt::Debug;

    #[track_caller]
    fn check<F: Frame + PartialEq + Debug>(frame: &F) {
        let mut bytes = BytesMut::new();
        frame.frame(&mut bytes);
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        assert_eq!(length, bytes.len() - 4);
        let mut reader = Reader::new(bytes.split_off(4).freeze());
        assert_eq!(F::read(&mut reader).as_ref(), Some(frame));
        assert!(reader.is_empty());
    }

    fn message() -> Message {
        let table = Headers::from([("k".to_owned(), HeaderValue::List(vec![HeaderValue::Int(-1), HeaderValue::Null]))]);
        let values = [
            HeaderValue::Null,
            HeaderValue::Bool(true),
            HeaderValue::Int(i64::MIN),
            HeaderValue::Float(0.5),
            HeaderValue::Text("grüß dich".to_owned()),
            HeaderValue::Bytes(vec![0, 255].into()),
            HeaderValue::Timestamp(Timestamp::from_millis(-5)),
            HeaderValue::Table(table),
        ];
        let headers = values.into_iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect();
        Message { id: Some("t1".to_owned()), priority: Some(3), headers, body: "body".into(), ..Message::default() }
    }

    #[test]
    fn everything_that_is_said_is_heard() {
        let source = Source::Delay(Step::FIRST);
        check(&Ask::Hello(Role::Publish));
        check(&Ask::Open { channel: 7, source, window: 9 });
        check(&Ask::Settle { channel: 1, acks: vec![1, 5], returns: vec![] });
        let from = Some(Tag { opening: Opening(3), seq: 4 });
        check(&Ask::Publish { no: 1, target: Target::Dead("q".into()), from, message: message() });
        check(&Ask::Publish { no: 1, target: Target::Queue("q".into()), from: None, message: Message::default() });
        check(&Ask::Depth { no: 2, target: Target::Delay(Step::LAST) });
        check(&Tell::Elsewhere(None));
        check(&Tell::Deliver { channel: 1, seq: 2, redelivered: true, message: message() });
        check(&Tell::Failed { channel: 1, code: 406, words: "PRECONDITION_FAILED".to_owned() });
        check(&Tell::Answers(vec![(1, Answer::Ack), (2, Answer::Nack), (3, Answer::Returned), (4, Answer::Unknown)]));
        check(&Tell::DepthIs { no: 3, depth: Some(Depth { ready: 1, consumers: 2 }) });
        check(&Tell::DepthIs { no: 3, depth: None });
        check(&Tell::Delay { step: Step::LAST, age_ms: 17 });
    }

    #[test]
    fn what_is_cut_short_is_no_frame() {
        let ask = Ask::Publish { no: 1, target: Target::Queue("q".into()), from: None, message: message() };
        let mut bytes = BytesMut::new();
        ask.write(&mut bytes);
        let bytes = bytes.freeze();
        for end in 0..bytes.len() {
            assert_eq!(Ask::read(&mut Reader::new(bytes.slice(..end))), None, "{end}");
        }
    }
}
