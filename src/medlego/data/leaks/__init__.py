"""What images of different splits, data sets and earlier training share."""

from medlego.data.leaks.check import LeakReport, Pair, check_leaks
from medlego.data.leaks.fingerprints import Place, Prints
from medlego.data.leaks.sidecar import Memory, SiteKey

__all__ = ["LeakReport", "Memory", "Pair", "Place", "Prints", "SiteKey", "check_leaks"]
