//! Quebert: HTTP push task queues on RabbitMQ.
