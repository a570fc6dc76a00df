"""What images of different splits, data sets and earlier training share."""

from medlego.leaks.check import LeakReport, Pair, check_leaks
from medlego.leaks.memory import Memory, SiteKey
from medlego.leaks.prints import Place, Prints

__all__ = ["LeakReport", "Memory", "Pair", "Place", "Prints", "SiteKey", "check_leaks"]
