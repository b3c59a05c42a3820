# Rendered by homelab: an edit here is lost at the next deployment.
"""Bans a visitor at Cloudflare by an IP access rule of the zone: an IPv4 address, or the /64 of an IPv6 one, whose
addresses all belong to the same customer of a provider.

The token is read from its file at each call, so that it is on no command line, in no log and never out of date.
A rule belongs to the jail that its notes name. A jail leaves another jail's rule alone, unless it takes over.
"""

import ipaddress
import json
import urllib.error
import urllib.parse
import urllib.request

from fail2ban.server.action import ActionBase

TIMEOUT = 10
OWNER = "homelab fail2ban "


class CloudflareAction(ActionBase):
    """One jail's bans in one zone."""

    def __init__(self, jail, name, zone, token_file, api, takes_over="false"):
        super().__init__(jail, name)
        self.url = "%s/zones/%s/firewall/access_rules/rules" % (api, zone)
        self.token_file = token_file
        self.takes_over = takes_over == "true"
        self.notes = OWNER + jail.name

    def start(self):
        """Nothing is prepared: rules are made one by one."""

    def stop(self):
        """Nothing is left: Fail2ban has taken back every ban of the jail."""

    def ban(self, aInfo):
        visitor = self._visitor(aInfo["ip"])
        rule = self._find(visitor)
        if rule is None:
            self._call("POST", "", {
                "mode": "block",
                "configuration": self._configuration(visitor),
                "notes": self.notes,
            })
        elif self.takes_over and rule["notes"] != self.notes and rule["notes"].startswith(OWNER):
            self._call("PATCH", "/" + rule["id"], {"mode": "block", "notes": self.notes})
        self._logSys.info("banned %s at Cloudflare", visitor)

    def unban(self, aInfo):
        visitor = self._visitor(aInfo["ip"])
        if any(self._visitor(ip) == visitor for ip in self._jail.actions.getBanList()):
            return  # another address of the same /64 is still banned
        rule = self._find(visitor)
        if rule is not None and rule["notes"] == self.notes:
            self._call("DELETE", "/" + rule["id"])
            self._logSys.info("took back the ban of %s at Cloudflare", visitor)

    @staticmethod
    def _visitor(ip):
        ip = ipaddress.ip_address(str(ip))
        return ipaddress.ip_network((ip, 32 if ip.version == 4 else 64), strict=False)

    @staticmethod
    def _configuration(visitor):
        if visitor.version == 4:
            return {"target": "ip", "value": str(visitor.network_address)}
        return {"target": "ip_range", "value": str(visitor)}

    def _find(self, visitor):
        """Returns the rule about exactly this visitor, or None."""
        configuration = self._configuration(visitor)
        query = urllib.parse.urlencode({
            "configuration.target": configuration["target"],
            "configuration.value": configuration["value"],
            "per_page": 100,
        })
        for rule in self._call("GET", "?" + query):
            value = rule.get("configuration", {}).get("value", "")
            try:
                same = ipaddress.ip_network(value) == visitor
            except ValueError:
                same = False
            if same:
                return {"id": str(rule["id"]), "notes": rule.get("notes") or ""}
        return None

    def _call(self, method, tail, body=None):
        with open(self.token_file, encoding="ascii") as f:
            token = f.read().strip()
        request = urllib.request.Request(
            self.url + tail,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer " + token, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as err:
            raise RuntimeError("Cloudflare answered %d to %s: %s" % (
                err.code, method, err.read(500).decode(errors="replace"))) from None
        if not answer.get("success"):
            raise RuntimeError("Cloudflare refused %s: %s" % (method, json.dumps(answer.get("errors"))))
        return answer.get("result") or []


Action = CloudflareAction
