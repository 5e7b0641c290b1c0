"""How many values a pixel of each dataset can take: the bins of the ELBO's last step."""

LEVELS = {"digits": 17, "cifar2": 256, "cifar10": 256, "mnist": 256, "artbench": 256}
LEVELS |= {f"{name}_tiny": levels for name, levels in LEVELS.items() if name != "digits"}
