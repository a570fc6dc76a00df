"""What images of different splits, data sets and earlier training share."""

from medlego.data.leaks.check import LeakPair, LeakReport, check_leaks
from medlego.data.leaks.fingerprints import ImagePlace, Prints
from medlego.data.leaks.sidecar import Memory, SiteKey

__all__ = ["ImagePlace", "LeakPair", "LeakReport", "Memory", "Prints", "SiteKey", "check_leaks"]
