//! Adding tasks on time. The pace is the plan's, whatever the broker does: a task that can't be handed over at its moment
//! waits here, and how late it was is measured. What becomes of it afterwards is not looked at here.

mod api;
mod door;
mod pace;
mod rabbit;

pub use api::ApiDoor;
pub use door::{Door, Parcel, Refused};
pub use pace::{Maker, Paced, drive, drive_until};
pub use rabbit::RabbitDoor;
