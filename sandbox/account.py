"""The account: the front door with all services behind it, each made from those that it needs."""

from sandbox.frontdoor import FrontDoor
from sandbox.services import (
    autoscaling,
    awslambda,
    cloudwatch_alarms,
    cloudwatch_metrics,
    ec2,
    ec2_network,
    elb,
    elb_targets,
    eventbridge,
    scheduler,
    sns,
    sqs,
    ssm,
    stepfunctions,
)


class Account(FrontDoor):
    """An AWS account on this machine, until it is closed: `with Account() as account`; one at a time in a process.

    Its services are attributes, for what a test wants to set or see without a request: ec2, network (EC2's addresses
    and routes), elb and targets (load balancing), autoscaling, functions (Lambda), events and scheduler (EventBridge),
    metrics and alarms (CloudWatch), states (Step Functions), commands (Systems Manager), sns, sqs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sqs = sqs.Sqs(self)
        self.sns = sns.Sns(self)
        self.metrics = cloudwatch_metrics.Metrics(self)
        self.functions = awslambda.Functions(self, self.metrics)
        self.events = eventbridge.Events(self, self.metrics, self.functions, self.sqs, self.sns)
        self.states = stepfunctions.StepFunctions(self, self.metrics, self.functions, self.events)
        self.scheduler = scheduler.Scheduler(self, self.events, self.functions, self.states, self.sqs, self.sns)
        self.network = ec2_network.Network(self)
        self.ec2 = ec2.Ec2(self, self.network, self.events)
        self.elb = elb.Elb(self)
        self.targets = elb_targets.Targets(self, self.elb, self.ec2, self.functions)
        self.alarms = cloudwatch_alarms.Alarms(self, self.metrics, self.functions, self.sns, self.events)
        self.autoscaling = autoscaling.AutoScaling(self, self.targets)
        self.commands = ssm.Commands(self, self.ec2)
        self.metrics.publishers += [self.sqs.publish, self.ec2.publish, self.targets.publish]

    @property
    def mails(self) -> list[sns.Message]:
        """Everything that was published to topics, in order."""
        return self.sns.messages
