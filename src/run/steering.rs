//! How a run that is on hears that its inputs have changed: by a message to the dispatcher, which
//! alone decides what becomes of it.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::context::Entry;
use crate::image::ImageId;
use crate::run::work::Message;

/// Tells a run what has changed. What comes after its end is not heard.
#[derive(Clone, Debug)]
pub struct Steering(Sender<Message>);

/// Where a run gets its messages.
#[derive(Debug)]
pub struct Mailbox {
    pub(crate) sender: Sender<Message>,
    pub(crate) receiver: Receiver<Message>,
}

/// Both ends, for one run.
pub fn steering() -> (Steering, Mailbox) {
    let (sender, receiver) = mpsc::channel();
    (Steering(sender.clone()), Mailbox { sender, receiver })
}

impl Steering {
    /// These images have other files now. One that is being built is begun again, one that waits
    /// takes them when its turn comes; where neither is the case the run starts nothing more.
    pub fn renew(&self, images: Vec<(ImageId, Vec<Entry>)>) {
        self.0.send(Message::Renewed(images)).unwrap_or_default();
    }

    /// The workspace is another one than that of the run, which starts nothing more. Builds of the
    /// given images are stopped, others go on to their ends.
    pub fn replace(&self, outdated: BTreeSet<ImageId>) {
        self.0.send(Message::Replaced(outdated)).unwrap_or_default();
    }
}
