#!/usr/bin/env bash
# Sets the permissions of the roles' users in RabbitMQ: k8s/policies/rabbitmq.sh VHOST QUEUE_NAME
#
# The users aortica-submit, aortica-worker, aortica-commit and aortica-monitor must exist (`rabbitmqctl add_user NAME` asks for
# the password). QUEUE_NAME is the setting queue.name. Run it on a node of the broker.
#
#                 configure            write to        read from
#   submit        its own queues       the default     events, jobs, jobs.retry.*, records
#   worker        its own queues       exchange        events, jobs, jobs.retry.*, records
#   commit        its own queues                       the same and jobs.dead
#   monitor       nothing, and the tag `monitoring`: depths by the management page, for KEDA and people
#
# Every role declares all queues when it connects. RabbitMQ asks three things of who declares a queue with a dead-letter
# exchange: configure and read on the queue, write on that exchange. So `submit` may read what it only declares, and each may
# delete a queue; narrower than this it does not start. Messages of a queue that nobody reads (jobs.parked, records.dead,
# records.parked) are for a person with the tag `administrator`.
set -euo pipefail
vhost=$1
name=${2//./\\.}
rabbitmqctl=${RABBITMQCTL:-rabbitmqctl}
declared="events|jobs|jobs\\.retry\\.[0-9]+s|records"

permissions() { # user configure write read
    $rabbitmqctl --quiet set_permissions --vhost "$vhost" "$@"
}
permissions aortica-submit "^$name\\..*\$" '^amq\.default$' "^$name\\.($declared)\$"
permissions aortica-worker "^$name\\..*\$" '^amq\.default$' "^$name\\.($declared)\$"
permissions aortica-commit "^$name\\..*\$" '^amq\.default$' "^$name\\.($declared|jobs\\.dead)\$"
permissions aortica-monitor '^$' '^$' '^$'
$rabbitmqctl --quiet set_user_tags aortica-monitor monitoring
