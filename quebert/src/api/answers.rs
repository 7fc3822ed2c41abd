//! Answers that several operations have in common, as the API's description tells them.

use utoipa::IntoResponses;

/// A queue that there is not.
#[derive(IntoResponses)]
#[response(status = 404, description = "There is no such queue (`queue_not_found`)")]
pub(super) struct NoQueue;

/// A dead letter that there is not.
#[derive(IntoResponses)]
#[response(status = 404, description = "There is none with this key (`dead_letter_not_found`)")]
pub(super) struct NoLetter;

/// Dead letters that somebody else has in hand.
#[derive(IntoResponses)]
#[response(
    status = 429,
    description = "Others look at them, and the broker hides from one what another looks at (`busy`)"
)]
pub(super) struct LettersBusy;

/// A task that is not found.
#[derive(IntoResponses)]
#[response(
    status = 404,
    description = "It waits nowhere (`task_not_found`); or this dispatcher does not hold it, and the broker can't look into its queues (`task_not_held`)"
)]
pub(super) struct NoTask;

/// A task that nothing can be done about any more.
#[derive(IntoResponses)]
#[response(status = 409, description = "An attempt is under way (`under_way`), or it is a dead letter (`dead_letter`)")]
pub(super) struct NotSteered;

/// An operation that there is not.
#[derive(IntoResponses)]
#[response(status = 404, description = "There is none with this id, or it is forgotten (`operation_not_found`)")]
pub(super) struct NoOperation;

/// An action that makes no sense.
#[derive(IntoResponses)]
#[response(status = 422, description = "It is no such action (`invalid_body`)")]
pub(super) struct NoAction;

/// One operation too many.
#[derive(IntoResponses)]
#[response(status = 429, description = "8 operations run already (`busy`)")]
pub(super) struct OperationsBusy;
