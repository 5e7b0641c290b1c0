"""How many values a pixel of each dataset can take: the bins of the ELBO's last step."""

LEVELS = {"digits": 17, "cifar2": 256, "cifar10": 256}
