//! How a run that is on hears that its inputs have changed: by a message to the dispatcher, which
//! alone decides what becomes of it.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::context::Entry;
use crate::digest::Digest;
use crate::image::ImageId;
use crate::run::work::Message;

/// Tells a run what has changed. What comes after its end is not heard.
#[derive(Clone, Debug)]
pub struct Steering(Sender<Message>);

/// What is known of an image now.
#[derive(Debug)]
pub struct Renewal {
    /// The image.
    pub image: ImageId,
    /// Its files; `None` where, as far as is known outside of the run, it has to be prepared first.
    pub files: Option<Vec<Entry>>,
    /// What its `prepare` would be run with, if it has one.
    pub prepare: Option<Digest>,
    /// Whether it is another image than when it was last looked at.
    pub is_other: bool,
}

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
    /// These images may be others now. One that is being prepared or built from something else is
    /// begun again, one that waits is made from it when its turn comes; where neither is the case the
    /// run starts nothing more.
    pub fn renew(&self, images: Vec<Renewal>) {
        self.0.send(Message::Renewed(images)).unwrap_or_default();
    }

    /// The workspace is another one than that of the run, which starts nothing more. Builds and
    /// preparations of the given images are stopped, others go on to their ends.
    pub fn replace(&self, outdated: BTreeSet<ImageId>) {
        self.0.send(Message::Replaced(outdated)).unwrap_or_default();
    }
}
