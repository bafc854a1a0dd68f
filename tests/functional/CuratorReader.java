// Reads services with Apache Curator's own service discovery, and prints what each type of
// payload makes of them.  Its arguments are HOSTS BASE NAME.
package org.springframework.cloud.zookeeper.discovery;

import java.util.Map;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;

public class CuratorReader {
    public static void main(String[] words) throws Exception {
        Thread.currentThread().setContextClassLoader(CuratorReader.class.getClassLoader());
        CuratorFramework client =
            CuratorFrameworkFactory.newClient(words[0], new RetryOneTime(100));
        client.start();
        read(client, words, Void.class);
        read(client, words, Object.class);
        read(client, words, Map.class);
        read(client, words, String.class);
        read(client, words, ZookeeperInstance.class);
        client.close();
    }

    static <T> void read(CuratorFramework client, String[] words, Class<T> type) {
        String name = "type=" + type.getSimpleName();
        try (ServiceDiscovery<T> discovery =
                ServiceDiscoveryBuilder.builder(type).client(client).basePath(words[1]).build()) {
            discovery.start();
            for (ServiceInstance<T> one : discovery.queryForInstances(words[2])) {
                T payload = one.getPayload();
                System.out.println(
                    String.join(" ", name, one.getAddress(), "" + one.getPort(),
                        "" + one.getSslPort(), "" + one.isEnabled(), "" + payload,
                        one.buildUriSpec()));
            }
        } catch (Exception error) {
            System.out.println(name + " " + error.getClass().getSimpleName());
        }
    }
}

// The class that Spring Cloud Zookeeper has under this name, as far as JSON sees it.
class ZookeeperInstance {
    public String id;
    public String name;
    public Map<String, String> metadata;

    @Override
    public String toString() {
        return id + "/" + name + "/" + metadata;
    }
}
